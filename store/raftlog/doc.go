// Package raftlog is raft's log and stable store: the entries, the term and the vote, synced at every
// write. Votes and term are in raft.db; the entries are in segment files under wal/ (kind WAL) or in
// raft.db too (kind BoltDB). Log checks every entry that it takes in and gives out, and stops the node at
// the first failed write.
//
// wal*.go write and read the segment files, in the format of hashicorp/raft-wal. Which segments count
// stands in raft.db. What an entry says belongs to fsm; what entries mean for the registry file belongs
// to store.
package raftlog
