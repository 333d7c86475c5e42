// Package reach keeps who can connect to whom, and says when a leader should hand over because the others cannot
// connect to it.
//
// A network can be cut one way: a firewall, or a wrong address, lets a node dial the others, and lets nobody dial the
// node. Such a leader leads on, as all that raft says goes over connections that the leader dials. But nobody can bring
// it a change. A follower that is cut like this hears no leader, and can still ask one.
//
// Every member asks every other one for its clock every few seconds, over a connection of its own. So each member
// notices who asks it. And each tells in its answer whether it could connect to the one that asks, and how many others
// it reaches: reach.go keeps that. successor.go is the rule: a pure function from what is known to the member that
// should lead instead.
//
// Dialing does not belong here (package peerport), nor does the exchange (package clock), nor the transfer of
// leadership (package raftnode).
package reach
