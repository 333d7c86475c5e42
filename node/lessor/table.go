package lessor

import (
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// table is what one leadership knows of the leases. Times in it are lived time.
type table struct {
	term  uint64
	ended <-chan struct{} // the leadership

	leases map[string]*lease // that live
	due    map[*lease]bool
	// late are those that the guard counts, due ones among them. unheard are those that are not late, but that
	// nobody has renewed either since the leadership began.
	late, unheard int

	schedule schedule

	ending    map[string]bool // they have ended, and reports are still to be changed
	forgotten forgetQueue     // they have ended, and their reports are to be deleted some time

	gone  []gone // what expired lately, oldest first
	guard guardView
}

// lease is one that lives.
type lease struct {
	id       string
	ttl      time.Duration
	renewed  time.Duration // when the last renewal arrived; or first sight
	interval time.Duration // between the last two renewals; 0: not known
	heard    bool          // granted or renewed in this leadership
	late     bool
	holds    int // renewals and writes under way: it must not expire
	expiring *expiry
	empty    bool // it had no reports when it was chosen to expire
	over     bool // it does not live any more

	scheduled
}

// expiry is an Expire under way. done is closed when it is known what became of it. If the leadership ends first,
// it stays open.
type expiry struct{ done chan struct{} }

// record is what the fold holds of a lease; nil: nothing.
type record struct {
	id    string
	lease *logv1.Lease
}

// newTable returns the table of a leadership that begins with what the fold holds. It has not heard of any of the
// leases yet.
func newTable(term uint64, ended <-chan struct{}, now time.Duration, records []record) *table {
	t := &table{
		term: term, ended: ended,
		leases:   make(map[string]*lease, len(records)),
		due:      map[*lease]bool{},
		schedule: newSchedule(now),
		ending:   map[string]bool{},
		guard:    guardView{calmSince: -1},
	}
	all := make([]lease, len(records))
	for i, r := range records {
		if r.lease.GetEnd() == nil {
			t.add(&all[i], r, now)
		} else {
			t.update(r, now)
		}
	}
	t.unheard = len(t.leases)
	return t
}

func (t *table) add(e *lease, r record, now time.Duration) {
	*e = lease{id: r.id, ttl: time.Duration(r.lease.GetTtl()), renewed: now}
	t.leases[e.id] = e
	t.schedule.put(e, now+e.lateAfter())
}

// update has the table hold what the fold says.
func (t *table) update(r record, now time.Duration) {
	end := r.lease.GetEnd()
	e := t.leases[r.id]
	switch {
	case e != nil && (r.lease == nil || end != nil):
		t.remove(e)
	case e == nil && r.lease != nil && end == nil:
		e = &lease{}
		t.add(e, r, now)
		e.heard = true // it was just granted
	}
	if end != nil && !end.GetDone() {
		t.ending[r.id] = true
	} else {
		delete(t.ending, r.id)
	}
	if end.GetDone() && end.GetForgetTime() > 0 {
		t.forgotten.put(r.id, end.GetForgetTime())
	} else {
		t.forgotten.remove(r.id)
	}
}

func (t *table) remove(e *lease) {
	t.count(e, -1)
	delete(t.leases, e.id)
	delete(t.due, e)
	t.schedule.remove(e)
	e.over = true
}

// count adds a lease to what is counted, or takes it away.
func (t *table) count(e *lease, n int) {
	switch {
	case e.late:
		t.late += n
	case !e.heard:
		t.unheard += n
	}
}

// renew takes a renewal that arrived at a time.
func (t *table) renew(e *lease, at, now time.Duration) {
	t.count(e, -1)
	if at > e.renewed {
		e.interval = 0
		if e.heard {
			e.interval = at - e.renewed
		}
		e.renewed = at
	}
	e.heard = true
	t.count(e, 1)
	t.place(e, now)
}

// lateAfter is how long after its last renewal a lease is late: the guard then doubts that its reporter lives.
func (e *lease) lateAfter() time.Duration {
	return min(e.ttl, max(e.ttl*2/5, e.interval*5/4))
}

// place puts a lease where its age says.
func (t *table) place(e *lease, now time.Duration) {
	age := now - e.renewed
	t.count(e, -1)
	e.late = age >= e.lateAfter()
	t.count(e, 1)
	switch {
	case age >= e.ttl:
		t.due[e] = true
		return
	case e.late:
		t.schedule.put(e, e.renewed+e.ttl)
	default:
		t.schedule.put(e, e.renewed+e.lateAfter())
	}
	delete(t.due, e)
}

// advance looks at the leases whose time may have come. It costs what has to be looked at, not what there is.
func (t *table) advance(now time.Duration) {
	for e := t.schedule.next(now); e != nil; e = t.schedule.next(now) {
		t.place(e, now)
	}
	for len(t.gone) > 0 && t.gone[0].at+goneFor <= now {
		t.gone = t.gone[1:]
	}
}
