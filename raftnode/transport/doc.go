// Package transport is the network as raft sees it: hashicorp/raft's own network transport over the peer
// port.
//
// It adds what raft's does not do: it notes which voters have acknowledged which requests, for the read
// index (acks.go); it lets this node hand requests to its own raft, for a fast failover; and it closes its
// connections. Which peers may connect, and how they are reached, is package peerport's.
package transport
