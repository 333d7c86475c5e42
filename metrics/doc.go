// Package metrics is what one node tells Prometheus: names, help, buckets, and how a reading of the
// node becomes samples. It imports no other package of ours: the node hands it readings. Each node has a
// registry of its own, so several nodes in one process do not mix.
//
// The metrics that come from raft are the exception: raft has one sink for the whole process. The binary
// installs it and hands it to its node. See docs/decisions/0008-metrics-around-raft.md.
package metrics
