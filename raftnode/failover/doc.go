// Package failover finds a new leader fast when the process of the old one has ended.
//
// A killed leader is not a slow one: its operating system ends its connections and refuses new ones. Raft
// knows only silence, and waits a heartbeat timeout and more to be sure. A follower that sees both signs
// asks the other voters whether they see them too. If a quorum does, the voter with the furthest log stands
// for election at once.
//
// Raft's promises do not depend on any of this: an election is safe at any time, whoever calls it. The
// questions keep a leader that lives from being disturbed.
package failover
