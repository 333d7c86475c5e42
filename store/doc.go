// Package store is bytes on disk: the data directory of a node. It opens and locks the directory, keeps
// its identity, decides at a start whether the registry file is used or rebuilt (recover.go), makes a
// directory from a backup (restore.go), and gives back free space (defragment.go). What is in the files
// belongs to the packages beneath it. What a record means belongs to fsm, agreement to raftnode.
//
//	store/raftlog   raft's log and votes: raft.db and wal/
//	store/registry  the registry file: the materialized registry and the retained events
//	store/snapshot  raft's snapshots and backups, and their format
//	store/verify    reading all of a stopped node's data directory to find damage
//	store/boltfile  bbolt files that may be damaged
//	store/vfs       creating, replacing and removing files so that they survive a loss of power
//
// # Layout
//
//	DATA/LOCK            held (flock) by the one process that uses the directory
//	DATA/identity.json   whose directory this is: node name, random directory id, founding
//	DATA/raft.db         bbolt: raft's term and vote, and its log or a list of the segments in wal/
//	DATA/wal/            raft's log, in segment files
//	DATA/snapshots/      raft's snapshots
//	DATA/registry.db     bbolt: the registry and its events
//	DATA/registry.db.damaged-N  the last registry file that was not used, for whoever investigates
//	DATA/registry.quarantined   why the registry file must not be used at the next start
//	DATA/spool-*         files being made; removed when the directory is opened
//
// # What is fsynced, and in which order
//
//  1. The data directory: the directory above each level that was created (vfs.MkdirAll).
//  2. identity.json, before any other file is made (vfs.ReplaceFile): temporary file, fsync, rename, fsync
//     of the directory.
//  3. A vote and a term: raft.db, before raft answers a candidate or asks for votes (raftlog.Log.Set).
//  4. A log entry: its segment (or raft.db), before raft counts it as stored (raftlog.Log.StoreLogs). A new
//     segment is durable, length and name, before raft.db lists it, and raft.db lists it before an entry
//     is written to it.
//  5. The registry file, behind the fold: within a flush interval of the entry (registry.File). raft may
//     delete only entries that the registry file holds durably (raftlog.Log.SetDurable).
//  6. A snapshot: its files and its directory, before raft deletes the entries that it replaces
//     (snapshot.Store).
package store
