// Package raftnode is agreement: the life of one raft member. It opens and closes raft, has this node form
// or join a cluster, proposes commands, follows leadership and answers read-index requests.
//
// A file here holds one task of a member: node.go its life, form.go how it comes to a cluster,
// leadership.go what a new leader does, transfer.go how leadership is handed over, reconcile.go how a leader makes raft's
// configuration follow the members of the fold, readindex.go the read index (how a
// leader makes sure that it still leads, so that a read is linearizable), clocks.go the measuring of the
// members' clocks, status.go what it knows at one moment.
//
// Beneath it one package holds one idea: peerport the connections between nodes, transport raft's network
// over them and who has acknowledged this leader (what renews its leadership: raft's heartbeats), proposer
// from commands to log entries, forming the decisions of a node without a cluster, reconciler which change of raft's
// configuration is due, serveraddress how that configuration names a server, failover the fast
// election after a leader's process has ended or is silent, clock the time that a leader stamps on entries, raftlogger
// raft's log lines, workaround what rests on the insides of hashicorp/raft, memnet the network of tests.
//
// What does not belong here: what an entry means (it takes a raft.FSM, and of the fold it calls only what
// State lists), bytes on disk (package store) and the API (package server).
package raftnode
