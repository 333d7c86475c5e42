// Package failover finds a new leader fast when the process of the old one has ended, and soon when it is silent.
//
// A killed leader is not a slow one: its operating system ends its connections and refuses new ones. Raft
// knows only silence, and waits a heartbeat timeout and more to be sure. A follower that sees both signs
// asks the other voters whether they see them too. If a quorum does, the voter with the furthest log stands
// for election at once.
//
// A process that hangs, and a machine or network that is gone, are silent. Raft misses such a leader after one to three
// heartbeat timeouts, because it looks seldom, and the voter that looks first has to wait for the others. Here a
// follower that has heard nothing for a second asks them.
//
// Raft's promises do not depend on any of this: an election is safe at any time, whoever calls it. The
// questions keep a leader that lives from being disturbed.
package failover
