// Package examples holds programs to copy from, one in each directory, and the test that runs them.
package examples
