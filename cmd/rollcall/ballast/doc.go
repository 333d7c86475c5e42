// Package ballast holds a block of memory that is never used, so that Go's garbage collector runs less
// often in a node that holds little. The name is the usual one for this trick.
package ballast
