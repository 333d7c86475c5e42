// Package server answers gRPC: grpc.health.v1 and rollcall.v1 for clients, and what the other members of
// the cluster ask of this node.
//
// What belongs here: validating requests, limits, readiness, draining, and the messages of the API. What
// does not: what the registry holds (package fsm) and agreement (package raftnode). Both come in through
// the interfaces of deps.go.
//
// # Where what is
//
//	health.go       Check and List
//	watch.go        the standard's Watch; watches.go counts the open ones and refuses those above the limits
//	admin.go        writes; validate.go checks their fields (with api/rollcall/limits); writestream.go many on
//	                one stream, writestream_answers.go what they are answered
//	overrides.go    changes and lists of overrides; rules.go of safety rules
//	registry.go     reads of services; events.go and asof.go read the past
//	follow.go       WatchEvents and WatchServices
//	reading.go      who calls, and what the caller may read, before every read; scope.go: the same of open streams
//	cluster.go      GetStatus; problems.go says what is wrong with the cluster, in words, and problems_layers.go
//	                what operators may have forgotten
//	verify.go       "rollcall verify": asks every member for its state hash after one log entry and compares
//	hashes.go       a member's answer to that question
//	peerservice.go  what other members ask: forwarded writes and the read index
//	readiness.go    the status of "" and of /readyz; probes.go answers over HTTP
//	budgets.go      the memory that is held for clients, divided into four parts
//
// In packages beneath it: authn says who calls, authz what the caller may read, forward brings a write to the
// leader, freshness makes a read wait until this node is fresh, rpcerror turns an error into a gRPC code (one
// table), receive reads requests and bounds what those hold that are not complete, flowcontrol bounds what one
// watch or stream holds in memory, budget what all of them hold, connlimit the connections.
//
// Check is the hot path. It is one look-up and one of four messages that were made in advance. While everybody
// may read everything nobody looks who calls; to know that is one atomic load. There are no interceptors and no
// stats handlers, because every Check would pay for them.
package server
