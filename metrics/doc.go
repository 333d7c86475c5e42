// Package metrics is what one node tells Prometheus: names, help, buckets, and how a reading of the
// node becomes samples. It knows no other room; the node hands it readings. The registry is the
// node's own, so several nodes in one process do not mix.
//
// Raft's own metrics are not here: see docs/decisions/0008-metrics-around-raft.md.
package metrics
