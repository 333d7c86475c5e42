package fsm

import (
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/watch"
)

// publish shows a batch, in the order that the package comment explains.
func (f *FSM) publish(b *batch) {
	f.shown.Store(f.state.revision)
	open, accessChanged := f.ReadsOpen(), f.state.access.changed
	if accessChanged {
		if open = f.state.readsOpen(); !open {
			f.readsOpen.Store(false) // before anything of the batch is shown
		}
	}
	var wake []*watch.Topic
	for i := range b.steps {
		wake = f.publishServices(b.steps[i].services, wake)
		f.check.show(b.steps[i].layers)
	}
	wake = f.publishServices(b.services, wake)
	f.history.Append(b.events)
	membersChanged := f.state.members.changed
	f.state.members.changed = false
	f.view.Store(nextView(f.state, f.index, b.hash, f.view.Load(), len(b.services) > 0))
	if membersChanged {
		f.publishMembers()
	}
	if accessChanged {
		f.readsOpen.Store(open)
		f.publishAccess()
	}
	for _, topic := range wake {
		f.watches.Wake(topic)
	}
	var patterns []string
	for i := range b.steps {
		patterns = append(patterns, b.steps[i].patterns...)
	}
	for _, p := range patterns {
		f.watches.Sweep(p)
	}
	f.followers.Publish(func(yield func(string) bool) {
		for i := range b.services {
			if !yield(b.services[i].name) {
				return
			}
		}
	}, patterns)
	if len(b.events) > 0 {
		f.watches.WakeSubscribers()
	}
}

// publishServices publishes statuses and appends the topics of those that differ.
func (f *FSM) publishServices(services []touched, wake []*watch.Topic) []*watch.Topic {
	for _, t := range services {
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
	return wake
}

// publishAll shows a state that was restored, in the same order. Until it has the view, Check reads the old one,
// and then the new one: what is published is of both meanwhile.
func (f *FSM) publishAll() {
	f.shown.Store(f.state.revision)
	if !f.state.readsOpen() {
		f.readsOpen.Store(false)
	}
	f.check.readView()
	defer f.check.show(f.state.layers)
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
	f.state.members.changed = false
	f.view.Store(nextView(f.state, f.index, hash, nil, true))
	f.publishMembers()
	f.readsOpen.Store(f.state.readsOpen())
	f.publishAccess()
}

func (f *FSM) release() {
	f.indexWaiters.release(f.index)
	f.revisionWaiters.release(uint64(f.state.revision))
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
