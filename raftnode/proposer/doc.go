// Package proposer turns commands into entries of raft's log: it gathers what waits into one entry, bounds
// what waits and what is under way, and tells each command's outcome.
//
// Who may propose, and when, is package raftnode's. What a command means is the fold's.
package proposer
