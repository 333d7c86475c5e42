// Package forward brings a change to the leader: to this node, or over one hop to another. It holds the
// router that finds the leader and tries again, the forward stream that carries the changes of many
// callers, and the leader's end of that stream.
//
// Validating requests does not belong here (package server), nor does agreeing on the log (package
// raftnode).
package forward
