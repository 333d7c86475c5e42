// Package server is gRPC in: it answers grpc.health.v1 and rollcall.v1 for one node, and what the
// other nodes of its cluster ask of it.
//
// Here belong request validation, the turning of outcomes into status codes (errors.go, one table),
// forwarding to the leader, limits, readiness and draining. Truth does not (package fsm), nor does
// agreement (package raftnode): both come in through the interfaces of deps.go.
//
// Check is the hot path. It is one look-up and one of four messages made in advance; nothing may be
// put before it that every call pays for, so there are no interceptors and no stats handlers.
package server
