// Package renewal brings renewals of leases to the leader, which is this node or one hop away. It gathers the ids
// of all callers of this node for a few milliseconds and renews them together. Nothing about a renewal stands in
// the log (see package node/lessor).
//
// A renewal survives elections: the leader is asked again, and the next leader, until a bounded time is over.
// Then the ids are "waiting": not renewed, and not lost as far as is known.
package renewal
