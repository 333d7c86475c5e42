// Package statusmap is what Check reads: name → newest status. A look-up takes no lock, allocates nothing,
// and touches memory in as few places as possible.
//
// It holds the hash table (statusmap.go) and how it is made of very many records at a start (fill.go). The
// fold never reads it: it publishes here what it has decided. Whole records, and lists of them, are in the
// views of package fsm; who waits for a status is in fsm/watch.
package statusmap
