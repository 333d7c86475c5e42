package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// requests is the replicated table of request ids: how each recent write that had one was answered,
// so that a second try gets that answer and changes nothing (P3). It is part of the state: what is
// in it, and when that leaves, follows from the log alone. Off until a TermStart brings limits.
//
// An answer costs one for each of its changes, and one if it was refused; that is what the limit
// counts, or 250,000 batches of 10,000 would be remembered. The newest is always kept.
type requests struct {
	limits requestLimits
	known  map[requestKey]*request
	order  []*request // oldest first: by place in the log, hence by time
	cost   int

	scratch []byte // of hashing
}

type requestLimits struct {
	ids    int   // 0: off
	window int64 // nanoseconds of log time
}

// requestKey is whose id it is. Callers that are not authenticated are all one: "".
type requestKey struct{ caller, id string }

// request is a write that was answered, immutable once made. It shares records and strings with the
// registry, and is of about 250 bytes beside them for a single change.
type request struct {
	key      requestKey
	hash     requestHash
	place    place
	time     int64
	revision int64
	outcomes []outcome // before is only told apart from after
	refusal  *logv1.Refusal
}

// place is where in the log a command is.
type place struct {
	index    uint64
	position uint32
}

// replaced is the before of a remembered outcome that changed something: an answer does not need
// what was there, and must not keep it in memory.
var replaced = &record{}

func newRequests() *requests { return &requests{known: map[requestKey]*request{}} }

func (r *request) cost() int { return max(len(r.outcomes), 1) }

// result is the first answer, for another try.
func (r *request) result() Result {
	return Result{revision: r.revision, time: r.time, outcomes: r.outcomes, refusal: r.refusal, replayed: true}
}

func keyOf(cmd *logv1.Command) requestKey {
	key := requestKey{id: cmd.GetRequestId()}
	if a := cmd.GetActor(); a.GetVerified() {
		key.caller = a.GetName()
	}
	return key
}

// takes says whether cmd is one that the table is for.
func (t *requests) takes(cmd *logv1.Command) bool {
	_, write := cmd.GetKind().(*logv1.Command_Write)
	return write && cmd.GetRequestId() != "" && t.limits.ids > 0
}

// recall returns the answer to cmd if its id is known: the first one, or that the id is another
// request's. It comes before any other look at cmd: what is known was found well-formed, and the
// state that decided is the first try's.
func (t *requests) recall(cmd *logv1.Command, revision int64) (Result, bool) {
	if !t.takes(cmd) {
		return Result{}, false
	}
	first, ok := t.known[keyOf(cmd)]
	if !ok {
		return Result{}, false
	}
	if t.hash(cmd) == first.hash {
		return first.result(), true
	}
	reused := invalid("request_id", logv1.Refusal_PROBLEM_REUSED)
	reused.Given, reused.Value = cmd.GetRequestId(), int64(first.place.index)
	return Result{revision: revision, refusal: reused}, true
}

// remember notes how cmd was answered and returns the note; nil if there is none to be made. What is
// wrong with a command by itself is not remembered: it is refused the same way every time, and much
// of it never comes as far as the log. p must have been committed: its outcomes become the note's.
func (t *requests) remember(cmd *logv1.Command, p *plan, at place) *request {
	if !t.takes(cmd) || p.refusal.GetReason() == logv1.Refusal_REASON_INVALID {
		return nil
	}
	for i := range p.outcomes {
		if p.outcomes[i].changed() {
			p.outcomes[i].before = replaced
		}
	}
	r := &request{
		key:      keyOf(cmd),
		hash:     t.hash(cmd),
		place:    at,
		time:     p.time,
		revision: p.revision,
		outcomes: p.outcomes,
		refusal:  p.refusal,
	}
	t.add(r)
	return r
}

func (t *requests) add(r *request) {
	t.known[r.key] = r
	t.order = append(t.order, r)
	t.cost += r.cost()
}

// evict forgets what is too much or, at log time now, too old, and hands it to forgotten.
func (t *requests) evict(now int64, forgotten func(*request)) {
	for len(t.order) > 0 {
		oldest := t.order[0]
		if oldest.time >= now-t.limits.window && (t.cost <= t.limits.ids || len(t.order) == 1) {
			return
		}
		delete(t.known, oldest.key)
		t.cost -= oldest.cost()
		t.order[0] = nil // append leaves the slot behind when it has to grow
		t.order = t.order[1:]
		forgotten(oldest)
	}
}

// maxScratch is how much memory for hashing is kept from one command to the next.
const maxScratch = 64 << 10

func (t *requests) hash(cmd *logv1.Command) requestHash {
	h, b := hashWrite(cmd, t.scratch)
	if cap(b) <= maxScratch {
		t.scratch = b
	}
	return h
}

// limitsOf are the limits that a TermStart brings, or those there are if it brings none: one of a
// binary that knew of none, or that makes no sense.
func (t *requests) limitsOf(start *logv1.TermStart) requestLimits {
	if start.GetRequestIds() == 0 || start.GetRequestWindow() <= 0 {
		return t.limits
	}
	return requestLimits{ids: int(start.GetRequestIds()), window: start.GetRequestWindow()}
}
