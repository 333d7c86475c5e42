// Package raftlogger writes what hashicorp/raft logs to slog, at levels that mean what they mean in
// Rollcall: an error is something that somebody must act on.
//
// What raft logs is text, and an upgrade of raft may change it: a message that is not known here keeps the
// level that raft gives it.
package raftlogger
