package fsm

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// requestKind are the remembered request ids, each with the answer of its write. The state holds them in a
// table of their own, by caller and id. On disk their key is their place in the log.
var requestKind = &Kind{
	Number: logv1.Kind_KIND_REQUEST,
	Name:   "request id",
	tuned: &tuned{
		loader: func(l *loading) recordLoader { return &requestLoader{s: l.s} },
		count:  func(s *state) int { return len(s.requests.order) },
	},
}

// requests is the replicated table of request ids: how each recent write that had one was answered, so that a
// second try gets that answer and changes nothing (P3). It is part of the state: which ids it holds, and when
// they are forgotten, follows from the log alone. It is off until a TermStart brings limits.
//
// An answer costs one for each of its changes; a refusal costs one. The limit is on the sum of the costs. If
// it were on the number of ids, 250,000 batches of 10,000 changes could be remembered. The newest answer is
// always kept.
type requests struct {
	limits requestLimits
	mu     sync.Mutex // raft's goroutine holds it while it changes known; others hold it to read that, and read nothing else
	known  map[requestKey]*request
	order  []*request // oldest first: by place in the log, hence by time
	cost   int

	// Memory that is used again for each command.
	hashed []byte
	record logv1.RequestRecord
	stored resultEncoder
}

type requestLimits struct {
	ids    int   // 0: off
	window int64 // nanoseconds of log time
}

// requestKey is a request id and the caller whose id it is. All callers that are not authenticated count as
// one caller: "".
type requestKey struct{ caller, id string }

// request is a write that was answered. It never changes once it is made. It holds only bytes and no pointers
// to records, so that it does not keep deleted records in memory.
type request struct {
	encoded string // a logv1.RequestRecord, as it stands on disk and in the state hash
	place   place
	time    int64
	cost    uint32
	// How many bytes of encoded the first fields take, and the texts in them: see key.
	callerField, caller, idField, id uint16
}

// key returns the caller and the id, which are parts of encoded.
func (r *request) key() requestKey {
	end := r.callerField + r.idField
	return requestKey{
		caller: r.encoded[r.callerField-r.caller : r.callerField],
		id:     r.encoded[end-r.id : end],
	}
}

// place is where in the log a command is.
type place struct {
	index    uint64
	position uint32
}

func (p place) key() string { return logv1.RequestKey(p.index, p.position) }

func newRequests() *requests { return &requests{known: map[requestKey]*request{}} }

// SizeVT implements logv1.Value.
func (r *request) SizeVT() int { return len(r.encoded) }

// MarshalToSizedBufferVT implements logv1.Value.
func (r *request) MarshalToSizedBufferVT(b []byte) (int, error) {
	return copy(b[len(b)-len(r.encoded):], r.encoded), nil
}

// decode returns the request's record.
func (r *request) decode() *logv1.RequestRecord {
	p := new(logv1.RequestRecord)
	if err := p.UnmarshalVT([]byte(r.encoded)); err != nil {
		panic(fmt.Sprintf("request id %q of log entry %d: %v", r.key().id, r.place.index, err)) // it was encoded here, or decoded before
	}
	return p
}

// newRequest returns the request whose record is encoded.
func newRequest(encoded string, p *logv1.RequestRecord, at place) (*request, error) {
	r := &request{encoded: encoded, place: at, time: p.GetTime(), cost: p.GetCost()}
	callerField, idField := textSize(p.GetCaller()), textSize(p.GetRequestId())
	if callerField+idField > min(len(encoded), math.MaxUint16) || len(p.GetHash()) != len(requestHash{}) || r.cost < 1 {
		return nil, errors.New("it is damaged")
	}
	r.callerField, r.caller = uint16(callerField), uint16(len(p.GetCaller()))
	r.idField, r.id = uint16(idField), uint16(len(p.GetRequestId()))
	if r.key() != (requestKey{p.GetCaller(), p.GetRequestId()}) || r.id == 0 {
		return nil, errors.New("it is damaged")
	}
	return r, nil
}

func keyOf(cmd *logv1.Command) requestKey {
	key := requestKey{id: cmd.GetRequestId()}
	if a := cmd.GetActor(); a.GetVerified() {
		key.caller = a.GetName()
	}
	return key
}

// takes says whether the answer to cmd is to be remembered.
func (t *requests) takes(cmd *logv1.Command) bool {
	switch cmd.GetKind().(type) {
	case *logv1.Command_Write, *logv1.Command_Record:
		return cmd.GetRequestId() != "" && t.limits.ids > 0
	}
	return false
}

// recall returns the answer to cmd if its id is known: the answer of the first try, or a refusal because the
// id was used for another request. It is called before cmd is evaluated: the first try was well-formed, and
// its answer stands whatever the state is now.
func (t *requests) recall(cmd *logv1.Command, revision int64) (Result, bool) {
	if !t.takes(cmd) {
		return Result{}, false
	}
	first, ok := t.known[keyOf(cmd)]
	if !ok {
		return Result{}, false
	}
	p := first.decode()
	if hash := t.hash(cmd); string(hash[:]) == string(p.GetHash()) {
		return Result{revision: revision, stored: p.GetResult(), requestID: first.key().id, replayed: true}, true
	}
	reused := invalid("request_id", logv1.Refusal_PROBLEM_REUSED)
	reused.Given, reused.Value = cmd.GetRequestId(), int64(first.place.index)
	return Result{revision: revision, refusal: reused}, true
}

// remembers says whether the id of cmd is known. Any goroutine may ask. What a view says was answered is known by then,
// unless it was forgotten since.
func (t *requests) remembers(cmd *logv1.Command) bool {
	if cmd.GetRequestId() == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[keyOf(cmd)] != nil
}

// remember notes the answer to cmd and returns the note; nil if the answer is not to be remembered. A
// malformed command is not remembered: it is refused in the same way every time, mostly before it reaches the
// log. Nor is one that its caller may not do: who may do nothing must not drive the answers of others out. Nor is one
// that asks for a member that is there: a node that finds nobody at the address of a new member proposes what was done
// before, if anything was, to be told the answer. When somebody is there the same request is to be done.
func (t *requests) remember(cmd *logv1.Command, result *Result, at place) *request {
	switch result.refusal.GetReason() {
	case logv1.Refusal_REASON_INVALID, logv1.Refusal_REASON_MEMBER_EXISTS:
		return nil
	}
	if !t.takes(cmd) || mayNot(result.refusal) {
		return nil
	}
	key, hash := keyOf(cmd), t.hash(cmd)
	p := &t.record
	p.Caller, p.RequestId, p.Hash = key.caller, key.id, hash[:]
	p.Time, p.Cost = result.time, uint32(result.cost())
	p.Result = t.stored.encode(result, key.id)
	t.hashed = appendValue(t.hashed[:0], p)
	r, err := newRequest(string(t.hashed), p, at)
	if err != nil {
		panic(err) // cannot happen: it was just encoded
	}
	if cap(t.hashed) > maxScratch {
		t.hashed = nil
	}
	t.add(r)
	return r
}

func (t *requests) add(r *request) {
	t.mu.Lock()
	t.known[r.key()] = r
	t.mu.Unlock()
	t.order = append(t.order, r)
	t.cost += int(r.cost)
}

// evict forgets the answers that are too many or, at log time now, too old, and calls forgotten with each.
func (t *requests) evict(now int64, forgotten func(*request)) {
	for len(t.order) > 0 {
		oldest := t.order[0]
		if oldest.time >= now-t.limits.window && (t.cost <= t.limits.ids || len(t.order) == 1) {
			return
		}
		t.mu.Lock()
		delete(t.known, oldest.key())
		t.mu.Unlock()
		t.cost -= int(oldest.cost)
		t.order[0] = nil // until append makes a new array this slot stays in the old one: it must not keep the request alive
		t.order = t.order[1:]
		forgotten(oldest)
	}
}

// maxScratch is how much memory for hashing is kept from one command to the next.
const maxScratch = 64 << 10

func (t *requests) hash(cmd *logv1.Command) requestHash {
	h, b := hashRequest(cmd, t.hashed)
	if cap(b) <= maxScratch {
		t.hashed = b
	}
	return h
}

// remember adds a request that is known from now on to the state hash; forget removes it.
func (s *state) hashRequest(r *request, change func(*multiset, []byte)) {
	s.scratch = append(appendHead(s.scratch[:0], logv1.Kind_KIND_REQUEST, r.place.key()), r.encoded...)
	change(&s.remembered, s.scratch)
	if cap(s.scratch) > maxScratch {
		s.scratch = nil
	}
}

// requestLoader loads the table.
type requestLoader struct {
	s *state

	mu     sync.Mutex // guards what follows
	loaded []*request
	hash   multiset
}

func (l *requestLoader) part(_ int, records []logv1.KeyValue) error {
	loaded := make([]*request, 0, len(records))
	var hash multiset
	var canonical []byte
	var p logv1.RequestRecord
	for _, kv := range records {
		index, position, ok := logv1.ParseRequestKey(kv.Key)
		p.Reset()
		err := p.UnmarshalVT(kv.Value)
		var r *request
		if err == nil && ok {
			r, err = newRequest(string(kv.Value), &p, place{index, position})
		}
		if err == nil && r != nil {
			_, err = parseResult(p.GetResult())
		}
		if err != nil || r == nil {
			return fmt.Errorf("request id %q of log entry %d cannot be read: %w", p.GetRequestId(), index, err)
		}
		loaded = append(loaded, r)
		canonical = append(appendHead(canonical[:0], logv1.Kind_KIND_REQUEST, string(kv.Key)), kv.Value...)
		hash.add(canonical)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loaded = append(l.loaded, loaded...)
	l.hash.sum(hash)
	return nil
}

func (l *requestLoader) finish(meta *logv1.RegistryMeta) error {
	slices.SortFunc(l.loaded, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.place.index, b.place.index), cmp.Compare(a.place.position, b.place.position))
	})
	t := l.s.requests
	t.known = make(map[requestKey]*request, len(l.loaded))
	t.order = make([]*request, 0, len(l.loaded))
	newest := int64(0)
	for _, r := range l.loaded {
		if t.known[r.key()] != nil || t.limits.ids == 0 || r.time < newest || r.time > meta.GetLogTime() ||
			r.place.index > meta.GetIndex() || r.place.index == 0 {
			return fmt.Errorf("request id %q of log entry %d does not fit those before it, or the registry", r.key().id, r.place.index)
		}
		newest = r.time
		t.add(r)
	}
	l.s.remembered.sum(l.hash)
	return nil
}
