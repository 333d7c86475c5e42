// Package fsm is the truth in memory: the pure fold of log entries into the registry's state, and
// what a node reads of it. It knows neither disk nor network: bytes belong to store
// (seen here through RegistryFile), agreement to raftnode, gRPC to server.
//
// # The fold
//
// state × entry → state, events. It depends on nothing but its two arguments: no clock, no
// randomness, no map iteration order, no local flag. evaluate says what a command would do and
// changes nothing, so Preview and ApplyBatch cannot disagree; commit does it. A command that breaks
// a rule is refused, which is a result like any other. An entry that this binary cannot read
// halts the FSM: skipping it would make this node differ from the others in silence.
//
// # Kinds
//
// Everything replicated is a record of a kind: (kind, key, bytes). A descriptor a kind (kind.go, kind_*.go)
// says all that the machinery has to know: tables in memory, what is handed to the registry file, loading,
// the state hash, the scrubber, the history and verify go by descriptors and name no kind. Services and
// request ids are kinds with memory of their own. docs/architecture.md says how to add a kind.
//
// # Overrides and rules
//
// What is shown of a service follows from its report and from the overrides; it is computed when it is read
// (fsm/layers), and stands in no record. What rules bound is counted (fsm/rules). Both follow from the records:
// they are neither stored nor hashed, a start makes them anew, and a scrub compares.
//
// # Leases
//
// A lease is a record, and each report says which lease it is attached to. Which reports a lease has is an index
// (fsm/leases) that follows from the services, as above. The fold knows no renewals: a leader proposes Expire, and
// the fold ends what the leader saw, if it is still so (lease_end.go). The end of a lease changes at most
// limits.MaxExpireChanges services in one command (limits.MaxRevokeChanges when it is revoked), the oldest reports first; what is left is done by later ones.
// Reports with a lease, revokes and expiries are facts: rules do not refuse them, but record that they break.
//
// # Request ids
//
// A write that has a request id is looked up before it is evaluated (requests.go): another try of it
// gets the first answer and changes nothing, also if that answer was a refusal that depended on the
// registry of then. Which ids are known follows from the log alone, limits included, which a leader
// writes into its TermStart. It does not matter which of two tries comes into the log first.
//
// # The order within ApplyBatch
//
//	fold → shown revision → published records → ring → view → topics → registry file → waiters → return
//
// If overrides change within the batch, the records of before are published, then the overrides, then the records
// of after: see checked.
//
// P4, honest reads: a read that must see index N waits until the view is there. Records are
// published before the view, so by then Check sees everything up to N too. Check may be ahead of
// the view by the batch under way; that is allowed (a later state, committed), but whoever hands a
// revision to a caller who shall never see less than this node has shown must use ShownRevision,
// which is raised before the first record is published, not Revision. A write is acknowledged when
// ApplyBatch returns, hence after all of it. A waiter woken after the registry file has taken the batch is
// only later than it might be, never early.
//
// P7, fail-static: everything here is committed before raft delivers it, so it may be shown before
// the registry file holds it: a node killed in between comes back with less, never with anything that was
// not committed, and raft delivers the rest again. Append may block while the registry file's backlog is
// full; reads and watches go on, as the batch is published by then and no lock is held.
//
// # Watching and history
//
// What only reads the fold's output is in packages of its own: fsm/statusmap is what Check reads,
// fsm/watch wakes who waits for changes, fsm/history reads events and points in time, fsm/follow sends
// what changes to followers. reading.go offers them as methods of FSM.
package fsm
