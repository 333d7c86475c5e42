// Package clock decides what time a leader stamps on the log's entries, and finds members whose clocks are
// off.
//
// Every member asks every other for its wall clock every few seconds, over the peer port (exchange.go). A
// reading is kept as an offset from this process's monotonic clock, so that a step of this node's own wall
// clock changes no other reading. decide.go is the rule: a pure function from the readings, the log's time
// so far and what has passed since, to the time of the next entry. clock.go keeps what the rule needs.
//
// What is decided is used in two places: the proposer stamps each entry with Stamp, and package
// node/retention tells the age of events by Earliest. Offsets are only shown, in the status and the metrics.
//
// The fold knows no clock: it takes the greater of the last entry's time and this one's. Leases do not
// belong here either: they end by lived time, not by log time.
package clock
