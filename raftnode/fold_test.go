package raftnode

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// testFold is the simplest fold: it keeps request ids in order.
type testFold struct {
	mu        sync.Mutex
	applied   uint64
	logTime   int64
	level     uint32   // the cluster's; 0: the base level
	maxLevel  uint32   // never changes
	levels    []uint32 // of the entries
	cluster   string
	terms     []uint64
	ids       []string // request ids of all other commands
	entries   int      // with such commands
	members   map[string]*logv1.Member
	removed   map[string]*logv1.RemovedMember
	revision  int64         // counts the changes of members and removed
	changed   chan struct{} // closed when members or removed change
	advanced  chan struct{}
	intercept func(*logv1.Command) // before a command is applied
}

type testResult struct {
	ID    string
	Index uint64
}

func newTestFold() *testFold {
	return &testFold{
		members: map[string]*logv1.Member{}, removed: map[string]*logv1.RemovedMember{}, changed: make(chan struct{}),
		advanced: make(chan struct{}),
	}
}

func (f *testFold) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

func (f *testFold) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			answers[i] = f.applyEntry(l)
		}
		f.mu.Lock()
		f.applied = l.Index
		close(f.advanced)
		f.advanced = make(chan struct{})
		f.mu.Unlock()
	}
	return answers
}

func (f *testFold) applyEntry(l *raft.Log) any {
	var entry logv1.Entry
	if err := logv1.Open(l.Data, &entry); err != nil {
		return err
	}
	f.mu.Lock()
	f.logTime = max(f.logTime, entry.GetTime())
	f.levels = append(f.levels, entry.GetLevel())
	f.mu.Unlock()
	answers := []any{}
	counted := false
	for _, cmd := range entry.GetCommands() {
		if f.intercept != nil {
			f.intercept(cmd)
		}
		f.mu.Lock()
		switch kind := cmd.GetKind().(type) {
		case *logv1.Command_RaiseLevel:
			f.level = max(f.level, kind.RaiseLevel.GetLevel())
		case *logv1.Command_TermStart:
			f.terms = append(f.terms, kind.TermStart.GetTerm())
			if f.cluster == "" {
				f.cluster = kind.TermStart.GetClusterId()
			}
		case *logv1.Command_AnnounceMember:
			m := kind.AnnounceMember.GetMember()
			f.members[m.GetName()] = m
			f.memberChanged()
		case *logv1.Command_Record:
			f.applyMember(kind.Record.GetPayload())
		default:
			f.ids = append(f.ids, cmd.GetRequestId())
			counted = true
		}
		f.mu.Unlock()
		answers = append(answers, testResult{cmd.GetRequestId(), l.Index})
	}
	if counted {
		f.mu.Lock()
		f.entries++
		f.mu.Unlock()
	}
	return answers
}

// applyMember applies a member command, and refuses none. The caller holds mu.
func (f *testFold) applyMember(payload []byte) {
	var cmd logv1.MemberCommand
	if err := cmd.UnmarshalVT(payload); err != nil {
		panic(err)
	}
	bury := func(name, directory, replacedBy string, force bool) {
		f.removed[directory] = &logv1.RemovedMember{Name: name, DirectoryId: directory, Force: force, Revision: f.revision + 1,
			Actor: &logv1.Actor{Name: "cert:ops"}, Reason: "disk", Time: f.logTime, ReplacedBy: replacedBy}
		delete(f.members, name)
	}
	add := func(m *logv1.Member) {
		m.Joined = true
		f.members[m.GetName()] = m
	}
	switch c := cmd.GetCommand().(type) {
	case *logv1.MemberCommand_Add:
		add(c.Add.GetMember())
	case *logv1.MemberCommand_Remove:
		bury(c.Remove.GetName(), c.Remove.GetDirectoryId(), "", c.Remove.GetForce())
	case *logv1.MemberCommand_Replace:
		bury(c.Replace.GetMember().GetName(), c.Replace.GetDirectoryId(), c.Replace.GetMember().GetDirectoryId(), c.Replace.GetForce())
		add(c.Replace.GetMember())
	case *logv1.MemberCommand_Promote:
		m := proto.CloneOf(f.members[c.Promote.GetName()])
		m.Replica = false
		f.members[m.GetName()] = m
	}
	f.memberChanged()
}

// memberChanged wakes those who wait. The caller holds mu.
func (f *testFold) memberChanged() {
	f.revision++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *testFold) Removed() map[string]*logv1.RemovedMember {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.removed)
}

// Revision is that of the newest change of the members: others are not counted.
func (f *testFold) Revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *testFold) MembersRevision() int64 { return f.Revision() }

func (f *testFold) MembersChanged() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *testFold) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (f *testFold) Restore(io.ReadCloser) error         { return errors.New("not expected") }

func (f *testFold) AppliedIndex() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

func (f *testFold) WaitIndex(ctx context.Context, index uint64) error {
	for {
		f.mu.Lock()
		there, advanced := f.applied >= index, f.advanced
		f.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *testFold) ClusterID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cluster
}

func (f *testFold) LogTime() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logTime
}

func (f *testFold) StateHash() *logv1.StateHash { return nil }

func (f *testFold) Level() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return logv1.LevelOf(f.level)
}

func (f *testFold) MaxLevel() uint32 { return logv1.LevelOf(f.maxLevel) }

// CommandLevel is 2 for request ids that begin with "level2".
func (f *testFold) CommandLevel(cmd *logv1.Command) uint32 {
	if strings.HasPrefix(cmd.GetRequestId(), "level2") {
		return 2
	}
	return logv1.LevelOf(cmd.GetRaiseLevel().GetLevel())
}

func (f *testFold) Members() map[string]*logv1.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.members)
}

func (f *testFold) requestIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.ids...)
}
