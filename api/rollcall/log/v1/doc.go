// Package logv1 is what stands in raft's log and on disk, generated from log.proto: entries and their
// commands, events, records, and the headers of files.
//
// The code beside it is what its messages need everywhere: sealed envelopes (envelope.go), feature levels
// (level.go), fields that this binary does not know (unknown.go), what the registry file takes in and gives
// out (delta.go, registry.go, history.go). What a command does belongs to package fsm, and in which file a
// message lies to the packages of store.
package logv1
