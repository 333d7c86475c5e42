// Package store is bytes on disk: the data directory, the raft log and stable store, the snapshots
// and the journal. It knows what a record looks like (api/rollcall/log/v1) but not what it means:
// the fold, the network and agreement live elsewhere.
//
// # Layout
//
//	DATA/LOCK            held (flock) by the one process that uses the directory
//	DATA/identity.json   whose directory this is: node name, random directory id, founding
//	DATA/raft.db         bbolt: raft's term and vote, and its log or a list of the segments in wal/
//	DATA/wal/            with LogWAL: raft's log, in segment files of hashicorp/raft-wal
//	DATA/snapshots/      raft's snapshots, see below
//	DATA/journal.db      bbolt: the materialized registry and the retained events
//	DATA/journal.db.damaged-N  the last journal that was not believed, for whoever investigates
//	DATA/spool-*         files being made; removed when the directory is opened
//
// Every file that replaces another, or must exist whole or not at all, is made as a spool file,
// fsynced, renamed, and its directory fsynced.
//
// # What is checked
//
// Log entries, records and blocks of events are sealed envelopes with a CRC-32C. bbolt itself checksums only
// its two meta pages, so the store adds what an envelope cannot see: a lost or resurrected record
// (a count and a sum over each bucket of the registry, see sums), a record that a search does not
// find, and a fault while reading the mapped file, which becomes an error instead of ending the
// process (see guard).
//
// # Snapshot stream
//
//	8 bytes   magic "rollcall"
//	4 bytes   big-endian length of the header
//	n bytes   sealed logv1.SnapshotHeader: what the journal holds, and its size
//	m bytes   the journal file
//	32 bytes  SHA-256 of everything before
package store
