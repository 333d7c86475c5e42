// Package roster knows who belongs to the cluster, of two sources that may be behind each other: the registry, as far as
// this node has folded the log, and what other members told it (a store.Roster, which stands in identity.json). The newer
// one counts. Everything here is a pure function.
//
// It knows also how a member's data directory stands in raft's configuration (address.go). Asking other members, and
// writing to the disk, are package raftnode's.
package roster
