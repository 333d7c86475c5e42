package follow

import (
	"context"
	"errors"
	"slices"
	"strings"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// Services calls send with the state of all services whose names begin with one of prefixes (none: of all),
// and then with what changes in it: see rollcallv1.WatchServicesResponse for what a message says. It calls
// send at once, first with a message that says whether it goes on from how.Resume. It also calls send, with nothing new but the revision, when how.Quiet has passed since the
// revision of the last call. Errors are those of Events; a *logv1.CompactedError means that it fell too far
// behind and has to begin anew.
//
// complete is closed once the caller knows that this node holds everything that there is to send; nil means
// that it does. No message is marked as synced before: a node that has just woken up, or was just started, can
// have less than others, or nothing, and must not say that this is all.
//
// It keeps no view while it sends, nor any set of what it sent: only how far in the names, and how far in the
// events, it has come.
func (f *Followers) Services(ctx context.Context, prefixes []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	changed, leave := f.cfg.Subscribe()
	defer leave()
	s := f.Scan(prefixes, how)
	next := func(ctx context.Context, _ bool) (*rollcallv1.WatchServicesResponse, error) { return s.Next(ctx) }
	return tell(ctx, changed, how, complete, next, send)
}

// tell sends what next reads, page by page, and again after each change. It marks none as synced before complete is
// closed.
func tell(ctx context.Context, changed <-chan struct{}, how logv1.Following, complete <-chan struct{},
	next func(ctx context.Context, complete bool) (*rollcallv1.WatchServicesResponse, error), send func(*rollcallv1.WatchServicesResponse) error,
) error {
	var told *rollcallv1.WatchServicesResponse // the last one
	tell := func(m *rollcallv1.WatchServicesResponse) error {
		told = &rollcallv1.WatchServicesResponse{Revision: m.GetRevision(), Synced: m.GetSynced()}
		return send(m)
	}
	for {
		if isClosed(complete) { // before next, which then reads all that the node knew
			complete = nil
		}
		m, err := next(ctx, complete == nil)
		if err != nil {
			return err
		}
		read := m.GetSynced()
		m.Synced = read && complete == nil
		at, synced := m.GetRevision(), m.GetSynced()
		if told == nil || len(m.GetServices())+len(m.GetDeleted()) > 0 || synced && !told.GetSynced() {
			page := m
			m = nil // its records are not kept while it waits to be sent
			if err := tell(page); err != nil {
				return err
			}
		}
		if !read {
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		idle(how)
		err = await(ctx, changed, complete, how.Quiet, func() error {
			if at == told.GetRevision() {
				return nil
			}
			return tell(&rollcallv1.WatchServicesResponse{Revision: at, Synced: synced})
		})
		if err != nil {
			return err
		}
	}
}

// isClosed reports whether c is closed. nil is not.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Scan is how far a follower of services has come: in the names, and in the events. Of the names that it has
// scanned, it has sent the state as of the revision cursor. The other names it has not read yet. So when all
// names are scanned, what was sent is exactly the registry as of cursor.
type Scan struct {
	f        *Followers
	how      logv1.Following
	prefixes []string // in order; none begins with another
	begun    bool
	cursor   int64

	current int    // of prefixes: those before are scanned
	name    string // and of this one the names up to here

	again  []span // of names that are to be scanned once more, see spans
	resume string // how far in them the last page came
}

// Scan returns a follower of the services whose names begin with one of prefixes (none: of all) that has
// read nothing yet.
func (f *Followers) Scan(prefixes []string, how logv1.Following) *Scan {
	return &Scan{f: f, how: how, prefixes: minimal(prefixes)}
}

// minimal returns prefixes in order, without those that begin with another.
func minimal(prefixes []string) []string {
	if len(prefixes) == 0 {
		return []string{""}
	}
	var kept []string
	for _, p := range slices.Sorted(slices.Values(prefixes)) {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// keeps reports whether the follower is about a service, if its name has one of the prefixes.
func (s *Scan) keeps(name string) bool { return s.how.Keep == nil || s.how.Keep(name) }

// scanned reports whether name has one of the prefixes and was scanned.
func (s *Scan) scanned(name string) bool {
	for i, p := range s.prefixes {
		if strings.HasPrefix(name, p) {
			return i < s.current || i == s.current && name <= s.name
		}
	}
	return false
}

// Next reads one page from the newest cut: first what happened to the names that were scanned; then, if that
// fits, further names.
func (s *Scan) Next(ctx context.Context) (*rollcallv1.WatchServicesResponse, error) {
	v := s.f.cfg.Registry.Newest()
	m := &rollcallv1.WatchServicesResponse{Revision: v.Revision()}
	if !s.begun {
		s.begin(v)
		m.Resumed = s.resumed()
	}
	bytes, limits := 0, s.f.page(s.how)
	if s.cursor < v.Revision() {
		events, err := s.f.cfg.Events.EventsAfter(ctx, s.cursor, v.Revision(), limits)
		if behind := (*logv1.CompactedError)(nil); m.Resumed && errors.As(err, &behind) {
			s.beginAnew(v) // it was compacted just now
			m.Resumed, err = false, nil
		}
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			s.cursor = e.GetRevision()
			bytes += s.take(e, v, m)
		}
	}
	if s.cursor < v.Revision() {
		return m, nil
	}
	bytes = s.scanAgain(v, m, bytes, limits)
	for s.current < len(s.prefixes) && !limits.Reached(len(m.Services), bytes) {
		more := false
		prefix := s.prefixes[s.current]
		v.Ascend(max(prefix, s.name), s.how.StatusOnly, func(r *rollcallv1.ServiceRecord) bool {
			switch {
			case !strings.HasPrefix(r.GetService(), prefix):
				return false
			case r.GetService() == s.name:
				return true
			case !s.keeps(r.GetService()):
				s.name = r.GetService()
				return true
			case limits.Reached(len(m.Services), bytes):
				more = true
				return false
			}
			m.Services = append(m.Services, r)
			bytes += recordBytes(r)
			s.name = r.GetService()
			return true
		})
		if !more {
			s.current, s.name = s.current+1, ""
		}
	}
	m.Synced = s.current == len(s.prefixes) && len(s.again) == 0
	return m, nil
}

// scanAgain adds to m the services of the spans, as far as they fit. It returns the bytes that m then has. It goes
// on where the last page ended, and then with what comes before: however often a span begins anew, every name has
// its turn.
func (s *Scan) scanAgain(v Cut, m *rollcallv1.WatchServicesResponse, bytes int, limits history.PageLimits) int {
	at := s.turn()
	for len(s.again) > 0 {
		at %= len(s.again)
		one := &s.again[at]
		part, ok := s.scannedPart(*one)
		if !ok {
			s.again = slices.Delete(s.again, at, at+1)
			continue
		}
		more := false
		v.Ascend(part.from, s.how.StatusOnly, func(r *rollcallv1.ServiceRecord) bool {
			name := r.GetService()
			if !part.has(name) {
				return false
			}
			if !s.keeps(name) {
				return true
			}
			if more = limits.Reached(len(m.Services), bytes); more {
				part.from = name
				return false
			}
			m.Services = append(m.Services, r)
			bytes += recordBytes(r)
			return true
		})
		if more {
			one.from, s.resume = part.from, part.from
			break
		}
		if part.to == "" {
			s.again = slices.Delete(s.again, at, at+1)
			continue
		}
		one.from = part.to
	}
	return bytes
}

// turn returns the place of the span with which to go on. It cuts a span in two where the last page ended.
func (s *Scan) turn() int {
	for i, one := range s.again {
		switch {
		case one.to != "" && one.to <= s.resume:
			continue
		case one.from < s.resume:
			s.again = slices.Insert(s.again, i, span{one.from, s.resume})
			s.again[i+1].from = s.resume
			return i + 1
		}
		return i
	}
	return 0
}

// scannedPart returns the first part of a span whose names were all scanned; false: there is none.
func (s *Scan) scannedPart(of span) (span, bool) {
	for i, p := range s.prefixes {
		have := span{p, pattern.After(p)}
		switch {
		case i > s.current, i == s.current && s.name == "":
			return span{}, false
		case i == s.current:
			have.to = s.name + "\x00"
		}
		if part, ok := of.within(have); ok {
			return part, true
		}
	}
	return span{}, false
}

// take adds to m what e did, if e is the newest event of its service as of v. Else a later event brings what is
// newer. It returns about how many bytes that takes.
func (s *Scan) take(e *logv1.Event, v Cut, m *rollcallv1.WatchServicesResponse) int {
	if e.GetKind() == logv1.Kind_KIND_OVERRIDE {
		s.again = addSpan(s.again, spanOf(e.GetKey()))
		return 0
	}
	name := e.ServiceName()
	if name == "" || !s.keeps(name) || !s.scanned(name) {
		return 0
	}
	switch r, reported := v.Service(name, s.how.StatusOnly); {
	case r != nil && reported == e.GetRevision():
		m.Services = append(m.Services, r)
		return recordBytes(r)
	case r == nil && e.GetDeletes():
		m.Deleted = append(m.Deleted, name)
		return len(name)
	}
	return 0
}

// recordBytes is about how many bytes r takes in an answer.
func recordBytes(r *rollcallv1.ServiceRecord) int {
	const fixed = 64
	a := r.GetReport().GetActor()
	size := fixed + len(r.GetService()) + len(r.GetReport().GetReason()) + len(a.GetName()) + len(a.GetPeer())
	if o := r.GetOverride(); o != nil {
		size += overrideBytes(o)
		for _, o := range r.GetShadowed() {
			size += overrideBytes(o)
		}
	}
	return size
}

func overrideBytes(o *rollcallv1.Override) int {
	const fixed = 64
	return fixed + len(o.GetPattern()) + len(o.GetReason()) + len(o.GetActor().GetName()) + len(o.GetActor().GetPeer())
}
