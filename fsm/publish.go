package fsm

import (
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/watch"
)

// publish shows a batch, in the order that the package comment explains.
func (f *FSM) publish(b *batch) {
	f.shown.Store(f.state.revision)
	var wake []*watch.Topic
	for _, t := range b.services {
		var differs bool
		if t.now != nil {
			differs = f.published.Put(t.now.name, t.now.status)
		} else {
			differs = f.published.Remove(t.name)
		}
		if !differs {
			continue
		}
		// A watch that joins after this look-up reads the status that was just published.
		if topic := f.watches.Topic(t.name); topic != nil {
			wake = append(wake, topic)
		}
	}
	f.history.Append(b.events)
	f.view.Store(nextView(f.state, f.index, b.hash, f.view.Load(), len(b.services) > 0))
	for _, topic := range wake {
		f.watches.Wake(topic)
	}
	if len(b.events) > 0 {
		f.watches.WakeSubscribers()
	}
}

// publishAll shows a state that was restored, in the same order.
func (f *FSM) publishAll() {
	f.shown.Store(f.state.revision)
	f.state.services.Scan(func(r *record) bool {
		f.published.Put(r.name, r.status)
		return true
	})
	// All services of the state have been put. If the map holds no more names than that, no old one has to be
	// removed.
	if f.published.Services() > int64(f.state.services.Len()) {
		f.published.Retain(func(name string) bool { return rollcallv1.IsOwn(name) || f.state.get(name) != nil })
	}
	f.publishCut()
}

// publishCut publishes a restored state without its records: history, hashes and view.
func (f *FSM) publishCut() {
	f.history.Reset(f.state.revision)
	hash := f.state.digest()
	f.hashes.reset()
	f.hashes.put(f.index, hash)
	f.view.Store(nextView(f.state, f.index, hash, nil, true))
}

func (f *FSM) release() {
	f.indexWaiters.release(f.index)
	f.revisionWaiters.release(uint64(f.state.revision))
}

// Status is what Check answers: the status of name, and whether there is one. The node's own names
// are included.
func (f *FSM) Status(name string) (servingStatus, bool) {
	return f.published.Get(name)
}

// ShownRevision is at least the revision of everything that any read or watch of this node has shown
// so far; Revision may be less, while a batch is being published.
func (f *FSM) ShownRevision() int64 { return f.shown.Load() }

// SetOwn sets the status of one of the node's own names: "" and those that begin with "rollcall.".
// They are checked and watched like others, and are neither listed nor replicated. Other names are
// left alone.
func (f *FSM) SetOwn(name string, status servingStatus) {
	if !rollcallv1.IsOwn(name) {
		return
	}
	if !f.published.Put(name, status) {
		return
	}
	if topic := f.watches.Topic(name); topic != nil {
		f.watches.Wake(topic)
	}
}
