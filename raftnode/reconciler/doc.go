// Package reconciler decides how a leader makes raft's configuration follow the registry's members. The registry (the
// fold) says what should be; raft's configuration says what is. Next compares the two and returns one step.
//
// It is a pure function: whoever leads, after whatever crash, goes on from what is. What a step is made of, and how it
// is carried out, is in package raftnode.
//
// Its rules:
//
//   - A server is removed only if the registry holds a tombstone of its data directory. What the registry has never
//     heard of is left alone.
//   - A new member never votes at first. It gets its vote when its log has been close to the leader's for a while.
//   - The old data directory of a name is out of raft before the new one comes in.
//   - No step costs the quorum: before a vote is given or taken, a quorum of the voters afterwards has answered. A
//     removal by force is the only exception.
//   - A leader that is to be removed hands its leadership over first.
package reconciler
