// Package watch wakes those who wait for changes: watches of one service's status, and subscribers of
// every change.
//
// It holds the table of what is watched (topics.go), the goroutines that wake the watches (waker.go), and
// one watch (watch.go). It does not hold statuses: it asks a function for them. Sending over gRPC belongs
// to server, reading events to fsm/history and fsm/follow.
//
// A watch stands in a counted topic and has neither a goroutine nor a queue: it remembers the status that
// it sent last. Apply publishes a status, then queues its topic, at most once. The waker's goroutines
// update the topic's watches, 256 at a time: each watch reads the status and sends it if it differs from
// the last one. Sending does not wait. A watch whose last status has not left yet is passed over, and is
// updated again when it has: a slow watch costs the others nothing, and misses only the statuses in
// between. A watch that joins while a status is published reads that status, or is woken after.
//
// An override changes the statuses of many names at once. Apply only says which: the waker goes through the
// topics (sweep.go) and queues those whose watches have sent another status.
package watch
