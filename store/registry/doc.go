// Package registry is the registry file, registry.db: a bbolt file with the materialized registry and the
// retained events. A File writes it behind the fold, in batches that end at the boundary of a log entry;
// it is read when a node starts, by queries of the history, by the scrubber, and to make snapshots.
//
// # Where what is
//
//	file.go, write.go   File: its life, and the flushes that write behind the fold
//	load.go, reader.go  reading all records at a start; parallel.go does it on all cores
//	kinds.go            the bucket of each kind of records
//	event_*.go          blocks of events: their bytes, how they are packed, read and compacted
//	events.go, scan.go  queries of the history
//	compact.go          deletes the events below the horizon, step by step; event_compact.go is one step
//	snapshot.go         copies the file for a snapshot; replace.go swaps in one that arrived
//	backup.go, refound.go, export.go  what is done for backups
//	sums.go, check.go, verify_events.go  finding damage
//
// # Checksums
//
// Log entries, records and blocks of events are sealed envelopes with a CRC-32C. bbolt itself checksums
// only its two meta pages, so this package adds what an envelope cannot see: a lost or resurrected record
// (a count and a sum over each bucket, see sums) and a record that a search does not find.
//
// What a record means belongs to fsm. Whether the file is used at a start belongs to store.
package registry
