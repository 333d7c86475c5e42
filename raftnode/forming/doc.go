// Package forming decides how a node comes to belong to a cluster: it forms one, joins one, waits, or stops.
//
// Decisions are pure functions of what this node is and of what the other members answered. Asking them,
// again and again, is package raftnode's. The package also writes the first entry of raft's log
// (bootstrap.go). How members of a cluster that exists come and go does not belong here.
package forming
