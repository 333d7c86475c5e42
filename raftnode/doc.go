// Package raftnode is agreement: it opens and closes raft, forms a cluster, proposes commands to its
// log, follows leadership, and carries raft and peer gRPC over one port.
//
// What an entry means is not its matter: it takes a raft.FSM and asks of the fold only what State
// lists. Bytes on disk are package store's, the API is package server's.
//
// The ideas, one a file: network.go and tcp.go are what lies under (in tests memnet); hello.go says
// who may talk to whom; streams.go is the peer port; transport.go is raft's view of it; form.go makes
// or joins a cluster; node.go is the life of a member; leader.go follows leadership; propose.go turns
// commands into log entries.
package raftnode
