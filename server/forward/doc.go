// Package forward brings a write to the leader: to this node if it leads, or over one hop to another.
//
// router.go finds the leader and tries again; a write begins at Router.Propose, many of one message at Router.Start.
// forwarder.go is the follower's end of the hop, receiver.go the leader's end. stream.go is the gRPC stream between
// them, which carries the writes of many callers; supersede.go ends it when another member leads. calls.go keeps the
// writes that came over one stream, a client's or a member's, until their answers have left; call.go is one of them.
//
// Validating requests does not belong here (package server), nor does agreeing on the log (package
// raftnode).
package forward
