// Package lessor is the leader's part of leases: it renews them, says how long they still live, and proposes the
// end of those that were not renewed. Renewals are in the leader's memory alone. No entry of the log tells of
// them, and a new leader knows none.
//
// A lease whose renewal was acknowledged does not end within its TTL after that renewal was sent. Why that is so:
//
//   - A renewal is acknowledged only after a read-index round that begins when it has arrived. A quorum answered
//     the round, so no voter of the quorum had voted in a later term when the renewal arrived. So every later
//     leadership begins after the arrival, and a leadership gives every lease a whole TTL from when it first sees
//     it.
//   - Within one leadership a lease is due when a whole TTL of lived time has passed since the arrival of its last
//     renewal. Lived time is never faster than real time (lived.go).
//   - What is due ends by an entry of the log that names the leader's term. If another leadership came between,
//     the fold refuses the entry. While the entry is under way, the lease is not renewed, and a write that names
//     the lease waits for its outcome. While a renewal or a write is under way, no entry that ends the lease is
//     proposed.
//   - A write whose outcome its proposer never learned may still be applied. So the entry says up to which revision
//     the leader had seen the registry, and the fold leaves alone what was attached to a lease since.
//
// The guard (guard.go) holds all leases when very many of them are late at once: it is likelier that the cluster
// cannot be reached than that so many reporters died together.
package lessor
