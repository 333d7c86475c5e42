package fsm

import (
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// view is one consistent cut, as of the end of a batch. Nothing in it is ever written to.
type view struct {
	state
	index      uint64
	hashed     Digest // of state
	requestIDs int
	ids        *requests // only its method remembers may be called
}

// nextView returns a view of s as of index. The tree is copied only if it changed, because a copy is not
// free: afterwards the first write to each node of the tree copies that node.
func nextView(s *state, index uint64, hashed Digest, before *view, servicesChanged bool) *view {
	v := &view{state: *s, index: index, hashed: hashed, requestIDs: len(s.requests.order), ids: s.requests}
	v.requests, v.found, v.scratch = nil, nil, nil
	if before != nil && !s.bookChanged {
		v.book = before.book
	} else {
		v.book, s.bookChanged = s.book.Snapshot(), false
	}
	v.attached = s.attached.Snapshot()
	if before != nil {
		v.access = s.access.snapshot(&before.access)
	} else {
		v.access = s.access.snapshot(nil)
	}
	if before != nil {
		v.tables = s.tables.copy(before.tables)
	} else {
		v.tables = s.tables.copy(nil)
	}
	if before != nil && !servicesChanged {
		v.services = before.services
	} else {
		v.services = s.services.Copy()
	}
	return v
}

// GetService returns what the registry holds of name, nil if nothing, and the revision of that cut.
func (f *FSM) GetService(name string) (*rollcallv1.ServiceRecord, int64) {
	v := f.view.Load()
	r := v.get(name)
	if r == nil {
		return nil, v.revision
	}
	return v.public(r), v.revision
}

// Page is one page of ListServices, and one cut of the registry.
type Page struct {
	Records []*rollcallv1.ServiceRecord // by name
	// More says that the list may go on after the name After. It can be true with fewer records than
	// asked for, or none, when a filter skipped very many.
	More     bool
	After    string
	Revision int64
}

// maxVisited bounds the work of one page.
const maxVisited = 100_000

// ListServices returns at most limit (at least 1) services whose names are within some spans and come after the name
// after, "" being before all; of the given statuses, or of all if none is given.
// statusOnly: of each it returns only the status.
func (f *FSM) ListServices(within pattern.Spans, after string, limit int, statuses []servingStatus, statusOnly bool) Page {
	return f.view.Load().list(within, after, max(limit, 1), statuses, statusOnly, maxVisited)
}

func (v *view) list(within pattern.Spans, after string, limit int, statuses []servingStatus, statusOnly bool, visits int) Page {
	page := Page{Revision: v.revision}
	last := after
	var lease shownLease
	for _, span := range within {
		if page.More {
			break
		}
		if !span.Has(after) && after > span.From {
			continue // the span is before it
		}
		v.services.Ascend(&record{name: max(span.From, after)}, func(r *record) bool {
			if !span.Has(r.name) {
				return false
			}
			if r.name == after {
				return true
			}
			if visits == 0 {
				page.More = true
				return false
			}
			visits--
			if len(statuses) > 0 && !slices.Contains(statuses, v.shown(r)) {
				last = r.name
				return true
			}
			if len(page.Records) == limit {
				page.More = true
				return false
			}
			page.Records = append(page.Records, v.shownAs(statusOnly, r, &lease))
			last = r.name
			return true
		})
	}
	if page.More {
		page.After = last
	}
	return page
}

// ListStatuses returns the status of every service whose name is within some spans, one cut. If there are more than
// limit it returns nil and true.
func (f *FSM) ListStatuses(within pattern.Spans, limit int) (map[string]servingStatus, bool) {
	v := f.view.Load()
	statuses := make(map[string]servingStatus, min(v.services.Len(), limit))
	more := false
	for _, span := range within {
		v.services.Ascend(&record{name: span.From}, func(r *record) bool {
			if !span.Has(r.name) {
				return false
			}
			if more = len(statuses) == limit; more {
				return false
			}
			statuses[r.name] = v.shown(r)
			return true
		})
		if more {
			return nil, true
		}
	}
	return statuses, false
}

// shown is the effective status of r.
func (v *view) shown(r *record) servingStatus {
	if o := v.layers.Decides(r.name); o != nil {
		return o.Says()
	}
	return r.status
}

// ServiceCount is the number of services in the registry.
func (f *FSM) ServiceCount() int { return f.view.Load().services.Len() }

// ClusterID is "" until the first leader of the cluster has named it.
func (f *FSM) ClusterID() string { return f.view.Load().clusterID }

// RequestIDs is how many request ids are remembered.
func (f *FSM) RequestIDs() int { return f.view.Load().requestIDs }

// Revision is the revision of the newest cut. See ShownRevision.
func (f *FSM) Revision() int64 { return f.view.Load().revision }

// LogTime is the greatest time of an entry that was applied, in nanoseconds since 1970; 0: none.
func (f *FSM) LogTime() int64 { return f.view.Load().logTime }

// AppliedIndex is the last log index whose effects every read shows.
func (f *FSM) AppliedIndex() uint64 { return f.view.Load().index }

// Preview says what cmd would do if it were applied next, proposed at now by the proposer's clock, in Unix
// nanoseconds. It changes nothing, and it ignores the request id.
func (f *FSM) Preview(cmd *logv1.Command, now int64) Result {
	if cmd.GetRecord() != nil {
		// It may look at every service. Previews of this sort take turns, so that many of them hold up nobody else.
		f.previewing.Lock()
		defer f.previewing.Unlock()
	}
	v := f.view.Load()
	p := v.evaluate(cmd, max(now, v.logTime))
	l, _ := p.layersOf(&v.state)
	r := p.result(l)
	if p.layered != nil {
		r.layered = &layeredResult{broken: p.layered.broken, affected: v.affects(&p)}
	}
	return r
}
