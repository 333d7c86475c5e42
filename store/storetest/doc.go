// Package storetest holds what the tests of store and of the packages beneath it share.
package storetest
