// Package statusmap is what Check reads: name → newest status, without a lock or an allocation, in as few
// steps from memory to memory as there can be.
//
// It holds the hash table (statusmap.go) and how it is made of very many records at a start (fill.go). The
// fold never reads it: it publishes here what it has decided. Whole records, and lists of them, are in the
// views of package fsm; who waits for a status is in fsm/watch.
package statusmap
