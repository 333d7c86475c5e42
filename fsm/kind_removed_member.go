package fsm

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// removedKind are the data directories that were members once, by their ids: see logv1.RemovedKey. Such a directory is
// never a member again, and raft's configuration follows: see package raftnode/reconciler.
var removedKind = &Kind{
	Number:       logv1.Kind_KIND_REMOVED_MEMBER,
	Name:         "removed member",
	Level:        logv1.LevelMembers,
	History:      true,
	PerCluster:   true,
	ResultBefore: true,
	New:          func() Value { return new(logv1.RemovedMember) },
	applied:      membersApplied,
	Check: func(key string, v Value) error {
		r := v.(*logv1.RemovedMember)
		if r.GetName() == "" || key != logv1.RemovedKey(r.GetName(), r.GetDirectoryId()) || r.GetRevision() < 1 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

// memberIndex says when who is a member changed. It follows from the records and their events: it is neither stored nor
// hashed.
type memberIndex struct {
	revision int64 // see FSM.MembersRevision
	changed  bool  // since the newest view
}

// membersApplied is Kind.applied of the members and of the removed ones.
func membersApplied(s *state, _ string, _, _ Value) {
	s.members.revision, s.members.changed = s.revision, true
}

// membersRevision finds the revision of the newest change of a member in what was loaded. It is that of an event of a
// member that there is, or of the directory that was removed last: a member that is no more left such a one.
func (s *state) membersRevision(file RegistryFile) (newest int64, err error) {
	look := func(kind *Kind, key string) {
		if err != nil {
			return
		}
		q := logv1.EventQuery{From: 1, To: s.revision, Kind: kind.Number, Key: key, Descending: true}
		_, err = file.Events(context.Background(), q, func(e *logv1.Event) (bool, error) {
			newest = max(newest, e.GetCommitRevision())
			return false, nil
		})
	}
	last, removed := "", int64(0)
	s.eachRemoved(func(key string, r *logv1.RemovedMember) {
		if r.GetRevision() > removed {
			last, removed = key, r.GetRevision()
		}
	})
	if last != "" {
		look(removedKind, last)
	}
	s.eachMember(func(m *logv1.Member) bool {
		look(memberKind, m.GetName())
		return err == nil
	})
	if err != nil {
		return 0, fmt.Errorf("load the registry: the events of its members: %w", err)
	}
	return newest, nil
}

// removed returns nil if there is no such directory.
func (s *state) removed(key string) *logv1.RemovedMember {
	r, _ := s.record(removedKind, key).(*logv1.RemovedMember)
	return r
}

// eachRemoved visits all removed directories, by key.
func (s *state) eachRemoved(visit func(key string, r *logv1.RemovedMember)) {
	s.tables.find(removedKind).records.Scan(func(key string, v Value) bool {
		visit(key, v.(*logv1.RemovedMember))
		return true
	})
}

// newestRemoved returns the directory that a member of a name lost last; nil: none did.
func (s *state) newestRemoved(name string) (newest *logv1.RemovedMember) {
	s.eachRemoved(func(_ string, r *logv1.RemovedMember) {
		if r.GetName() == name && r.GetRevision() > newest.GetRevision() {
			newest = r
		}
	})
	return newest
}

// remove notes that a directory belongs to the cluster no more: "" is one that nobody knows. With force it holds for all
// that the name had.
func (tx *Tx) remove(name, directory, by string, founder, force bool) {
	if force {
		tx.force(name)
	}
	tx.bury(&logv1.RemovedMember{Name: name, DirectoryId: directory, ReplacedBy: by, Founder: founder, Force: force})
}

// bury puts a tombstone, and notes in it who did that, and why.
func (tx *Tx) bury(r *logv1.RemovedMember) {
	r.Reason, r.Actor, r.Time, r.Revision = tx.cmd.GetReason(), tx.cmd.GetActor(), tx.p.time, tx.p.revision+1
	tx.s.change(tx.p, removedKind, logv1.RemovedKey(r.GetName(), r.GetDirectoryId()), r, logv1.EventType_EVENT_TYPE_MEMBER_REMOVED)
}

// force sets force on what a name had before and was removed without. It says whether there was any.
func (tx *Tx) force(name string) (any bool) {
	tx.s.eachRemoved(func(_ string, r *logv1.RemovedMember) {
		if r.GetName() == name && !r.GetForce() {
			r = proto.CloneOf(r)
			r.Force, any = true, true
			tx.bury(r)
		}
	})
	return any
}

// forgetRemoved forgets the directories that were removed first, if with those of this command there are too many. Founders
// come last: nodes know them from the founding, and only the tombstone tells that they are members no more.
func (tx *Tx) forgetRemoved() {
	s, p := tx.s, tx.p
	count := s.tables.find(removedKind).records.Len()
	for i := range p.changes {
		if c := &p.changes[i]; c.kind == removedKind && c.before == nil {
			count++
		}
	}
	for ; count > s.mostRemoved; count-- {
		key, oldest := "", (*logv1.RemovedMember)(nil)
		s.eachRemoved(func(k string, r *logv1.RemovedMember) {
			_, changed := p.newest[recordKey{removedKind.Number, k}]
			older := oldest == nil || oldest.GetFounder() && !r.GetFounder() ||
				oldest.GetFounder() == r.GetFounder() && r.GetRevision() < oldest.GetRevision()
			if !changed && older {
				key, oldest = k, r
			}
		})
		if oldest == nil {
			return // this command has changed all of them; the next one forgets the rest
		}
		s.change(p, removedKind, key, nil, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
		p.changes[len(p.changes)-1].why = &cause{reason: "only the newest removed members are remembered"}
	}
}

// Removed returns the data directories that are members no more, by logv1.RemovedKey: limits.MaxRemovedMembers of them at
// most, those of founders and the newest. The caller must not modify them.
func (f *FSM) Removed() map[string]*logv1.RemovedMember {
	removed := map[string]*logv1.RemovedMember{}
	f.view.Load().tables.find(removedKind).records.Scan(func(key string, v Value) bool {
		removed[key] = v.(*logv1.RemovedMember)
		return true
	})
	return removed
}

// RemovedDirectory returns how a data directory ceased to be a member's; nil if it did not.
func (f *FSM) RemovedDirectory(id string) *logv1.RemovedMember {
	if id == "" {
		return nil
	}
	return f.view.Load().removed(id)
}

// MembersRevision is the commit revision of the newest change of a member, or of a removed one; 0: there was none. What
// Members and Removed return is as of any revision from this one to Revision.
func (f *FSM) MembersRevision() int64 { return f.view.Load().members.revision }

// MembersChanged is closed at the next change of a member, or of a removed one, and when a snapshot arrives. Who takes it
// before Members and Removed misses nothing.
func (f *FSM) MembersChanged() <-chan struct{} { return *f.membersChanged.Load() }

// publishMembers tells that the members are others than in the view before.
func (f *FSM) publishMembers() {
	next := make(chan struct{})
	if before := f.membersChanged.Swap(&next); before != nil {
		close(*before)
	}
}
