// Package transport is the network as raft sees it: hashicorp/raft's own network transport over the peer
// port.
//
// It adds what raft's does not do: it notes which servers have acknowledged which requests, for the read
// index (acks.go), and how much of the log they have (progress.go); it takes one data directory of a member not for
// another (streams.go); it lets this node hand requests to its own raft, for a fast failover; and it closes its
// connections. Which peers may connect, and how they are reached, is package peerport's.
package transport
