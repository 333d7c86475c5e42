package lessor

import (
	"container/heap"
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// forgetQueue is leases that have ended, and when what is attached to them is to be deleted.
type forgetQueue struct {
	byTime byTime
	byID   map[string]*forgotten
}

type forgotten struct {
	id    string
	when  int64 // nanoseconds since 1970
	place int   // in byTime
}

func (q *forgetQueue) put(id string, when int64) {
	if f := q.byID[id]; f != nil {
		f.when = when
		heap.Fix(&q.byTime, f.place)
		return
	}
	f := &forgotten{id: id, when: when}
	if q.byID == nil {
		q.byID = map[string]*forgotten{}
	}
	q.byID[id] = f
	heap.Push(&q.byTime, f)
}

func (q *forgetQueue) remove(id string) {
	if f := q.byID[id]; f != nil {
		delete(q.byID, id)
		heap.Remove(&q.byTime, f.place)
	}
}

// due says whether the time of a lease has come.
func (q *forgetQueue) due(now int64) bool { return len(q.byTime) > 0 && q.byTime[0].when <= now }

// take takes out the lease whose time comes first.
func (q *forgetQueue) take() (id string) {
	id = q.byTime[0].id
	q.remove(id)
	return id
}

// byTime is a heap.
type byTime []*forgotten

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].when < h[j].when }
func (h byTime) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byTime) Push(x any) {
	f := x.(*forgotten)
	f.place = len(*h)
	*h = append(*h, f)
}

func (h *byTime) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}

// forget has the reports deleted of leases that ended long ago, by the cluster's clock.
func (l *Lessor) forget(ctx context.Context) (more bool) {
	l.mu.Lock()
	t := l.current()
	if t == nil {
		l.mu.Unlock()
		return false
	}
	cmd := &logv1.Expire{Term: t.term}
	now := l.cfg.Clock()
	for t.forgotten.due(now) && len(cmd.ForgottenLeases) < maxAtOnce {
		id := t.forgotten.take()
		if l.cfg.Fold.Lease(id).GetEnd().GetDone() {
			cmd.ForgottenLeases = append(cmd.ForgottenLeases, id)
		}
	}
	l.mu.Unlock()
	if len(cmd.ForgottenLeases) == 0 {
		return false
	}
	err := l.propose(ctx, l.command(cmd, forgottenReason))
	if err != nil {
		l.warn(t, "the reports of leases that ended long ago cannot be deleted; it is tried again", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range cmd.GetForgottenLeases() {
		if end := l.cfg.Fold.Lease(id).GetEnd(); end.GetDone() {
			t.forgotten.put(id, end.GetForgetTime())
		} else {
			more = true
		}
	}
	return more && err == nil
}
