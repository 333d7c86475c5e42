// Package snapshot is raft's snapshot store and the format of snapshots, which is that of backups too.
// The format is written and read in format.go and nowhere else. Store shows raft only snapshots that were
// read through and found right. What is in the registry file inside a snapshot belongs to store/registry.
//
// # Format
//
//	8 bytes   magic "rollcall"
//	4 bytes   big-endian length of the header
//	n bytes   sealed logv1.SnapshotHeader: what the registry file holds, and its size
//	m bytes   the registry file
//	32 bytes  SHA-256 of everything before
package snapshot
