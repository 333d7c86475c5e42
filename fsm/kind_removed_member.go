package fsm

import (
	"context"
	"errors"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// removedKind are the data directories that were members once, by their ids: see logv1.RemovedKey. Such a directory is
// never a member again, and raft's configuration follows: see package raftnode/reconciler.
var removedKind = &Kind{
	Number:     logv1.Kind_KIND_REMOVED_MEMBER,
	Name:       "removed member",
	Level:      logv1.LevelMembers,
	History:    true,
	PerCluster: true,
	New:        func() Value { return new(logv1.RemovedMember) },
	applied:    membersApplied,
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

// membersRevision finds the revision of the newest change of a member in what was loaded. A member that is no more left a
// removed directory, whose record has the revision.
func (s *state) membersRevision(file RegistryFile) (newest int64, err error) {
	s.tables.find(removedKind).records.Scan(func(_ string, v Value) bool {
		newest = max(newest, v.(*logv1.RemovedMember).GetRevision())
		return true
	})
	s.tables.find(memberKind).records.Scan(func(name string, _ Value) bool {
		q := logv1.EventQuery{From: 1, To: s.revision, Kind: memberKind.Number, Key: name, Descending: true}
		_, err = file.Events(context.Background(), q, func(e *logv1.Event) (bool, error) {
			newest = max(newest, e.GetCommitRevision())
			return false, nil
		})
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

// Removed returns the data directories that are members no more, by logv1.RemovedKey: the newest
// limits.MaxRemovedMembers of them. The caller must not modify them.
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
