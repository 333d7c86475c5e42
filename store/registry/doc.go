// Package registry is the registry file, registry.db: a bbolt file with the materialized registry and the
// retained events. A File writes it behind the fold, in batches that end at the boundary of a log entry;
// it is read when a node starts, by queries of the history, by the scrubber, and to make snapshots.
//
// Log entries, records and blocks of events are sealed envelopes with a CRC-32C. bbolt itself checksums
// only its two meta pages, so this package adds what an envelope cannot see: a lost or resurrected record
// (a count and a sum over each bucket, see sums) and a record that a search does not find.
//
// What a record means belongs to fsm. Whether the file is used at a start belongs to store.
package registry
