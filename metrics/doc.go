// Package metrics is what one node tells Prometheus: names, help, buckets, and how a reading of the
// node becomes samples. It knows no other room; the node hands it readings. The registry is the
// node's own, so several nodes in one process do not mix.
//
// Raft's own, those that are kept, are the exception: raft has one sink for the whole process, which
// the binary installs and hands to its node. See docs/decisions/0008-metrics-around-raft.md.
package metrics
