// Package client talks to a Rollcall cluster: any node of it, and the next one when that node does
// not answer. What belongs here: choosing an endpoint, failing over, saying what became of a write,
// and a watch that survives the node it runs on. What does not: words for people (cmd/rollcall), and
// anything that a node decides.
//
// # Endpoints
//
// A call starts at the endpoint that answered last and goes through the others in order. Reads move
// on when a connection fails, and when an endpoint accepts the call but says nothing for
// [Config.AttemptTimeout] (a stopped process does that). After a round without an answer the client
// pauses, for 50 ms at first and 1 s at most, with jitter, and begins another, until the caller's
// context ends: give it a deadline. There is one exception, so that people at a terminal learn at
// once that nothing runs: a round in which no endpoint could even be connected to ends the call with
// code UNAVAILABLE and [ReasonNoEndpoint], which names all that were tried.
//
// # Outcomes of a write
//
// A write ends in one of three ways.
//
//   - Done: no error. It is on the disks of a majority.
//   - Surely not done: an *[Error] with [WrittenNo]. The request never left this process, or a node
//     refused it, or a node said NOT_WRITTEN (no leader, for example). After the first and the last of
//     these the client itself tries again until the context ends (or, see above, until no endpoint
//     can be connected to).
//   - Unknown: an *[Error] with [WrittenUnknown]. The request was sent, and nothing that came back
//     proves what became of it: the connection broke, or the deadline passed. A bare UNAVAILABLE is
//     such a case; it does not say when the connection broke.
//
// The client never repeats a write of unknown outcome, not even a plain one that sets what it set
// before. Suppose try one of A was applied and its answer was lost; B then writes, and is
// acknowledged; A's try two would put its value over B's. Readers would have seen A, B, A of a
// call that takes effect once: no order of the calls explains that. It can be worse: try one may be
// slow rather than lost, and land after try two was acknowledged and B has answered it. Only a server that
// recognizes the request id can make a repeat harmless. Until nodes do, the request id is for finding
// the event, and a caller who must know reads the service back. A write with IfRevision may be
// repeated by hand, as it cannot take effect twice; if the first one did, the second is refused with
// REVISION_MISMATCH.
//
// # Watching
//
// [Client.Watch] gives the current status at once and then, always in the end, the latest one. It may
// skip states in between; it never goes back in time and never repeats a status, also when it moves to
// another node: it carries the revision that it has seen, and a node that is behind it is made to
// catch up or is passed over. The revision belongs to one cluster: a watch does not survive the
// cluster being founded anew or restored from a backup.
package client
