package survivor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

// What is folded at once.
const (
	batchEntries = 256
	batchBytes   = 4 << 20
)

// trial is what folding the log onto a base comes to.
type trial struct {
	base            *base
	last, committed Point
	clusterID       string
	members         []Member
	removed         map[string]bool
	missing         []string
}

// better reports whether t is to be preferred to other, which was tried before.
func (t *trial) better(other *trial) bool {
	if len(t.missing) == 0 || len(other.missing) == 0 {
		return len(t.missing) == 0 && len(other.missing) > 0
	}
	return t.last.Term > other.last.Term || t.last.Term == other.last.Term && t.last.Index > other.last.Index
}

// errNotWhole means that a log cannot be folded onto nothing.
var errNotWhole = errors.New("the raft log does not begin at entry 1")

// try folds the log onto b, in memory. The error says why b is not to be used, or wraps store.ErrNewer.
func (s *Survivor) try(b *base, log raftlog.Salvaged) (*trial, error) {
	if b.snapshot == nil && b.file == nil && b.chain.entries == 0 {
		return nil, errNotWhole
	}
	b.directory = cmp.Or(b.directory, s.Directory)
	if err := b.open(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.name, err)
	}
	r, err := newReplay(s, b, discarding{b.file})
	if err != nil {
		return nil, err
	}
	defer r.close()
	t := &trial{base: b}
	known := b.chain.committed(s.Node, s.Directory)
	r.reached = func(index uint64) {
		if index <= known {
			t.committed = r.point()
		}
	}
	r.reached(r.index)
	if err := r.run(b.chain.last, known); err != nil {
		return nil, err
	}
	t.last = r.point()
	t.clusterID, t.members, t.removed = r.fsm.ClusterID(), membersOf(r.fsm), map[string]bool{}
	for _, m := range r.fsm.Removed() {
		t.removed[m.GetDirectoryId()] = true
	}
	t.missing = s.missing(b, log, r.mismatch)
	return t, nil
}

// missing says what may be lost with what is damaged.
func (s *Survivor) missing(b *base, log raftlog.Salvaged, mismatch uint64) (missing []string) {
	c := &b.chain
	if mismatch > 0 {
		missing = append(missing, fmt.Sprintf("after entry %d this node did not hold what the leader held: its registry is not what the cluster agreed on", mismatch))
	}
	switch {
	case c.gap > 0 && c.beyond > 0:
		missing = append(missing, fmt.Sprintf("entry %d of the raft log is missing, and %d later ones, up to entry %d, cannot be used without it", c.gap, c.beyond, c.end))
	case c.foreign != "":
		missing = append(missing, fmt.Sprintf("%s; %d entries are left out", c.foreign, c.beyond))
	}
	switch {
	case log.Stored > max(c.last, c.end):
		missing = append(missing, fmt.Sprintf("the raft log held entries up to %d at least, and those after %d are missing", log.Stored, c.last))
	case !log.EndsWell && len(missing) == 0:
		missing = append(missing, fmt.Sprintf("the raft log is damaged: entries after %d, if there were any, are missing", c.last))
	case c.from > max(c.end, c.stale):
		missing = append(missing, fmt.Sprintf("%s holds entry %d, but the raft log ends at %d: they are not of the same time, and entries after %d may be missing", b.name, c.from, c.end, c.from))
	}
	return missing
}

// replay folds entries of a survivor's log onto a base.
type replay struct {
	s        *Survivor
	base     *base
	fsm      *fsm.FSM
	reached  func(index uint64) // called after each batch; nil: nobody is told
	mismatch uint64             // the first entry after which a proposer held something else; 0: none

	index, term uint64 // as far as it is folded
	batch       []*raft.Log
	bytes       int
	err         error
}

func newReplay(s *Survivor, b *base, file fsm.RegistryFile) (*replay, error) {
	r := &replay{s: s, base: b, index: b.chain.held, term: b.chain.heldAt}
	var err error
	r.fsm, err = fsm.New(fsm.Config{RegistryFile: file, Kinds: s.kinds, OnMismatch: func(index uint64) {
		if r.mismatch == 0 {
			r.mismatch = index
		}
	}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.name, newer(err))
	}
	return r, nil
}

// newer has an error wrap store.ErrNewer if a newer version of rollcall would do.
func newer(err error) error {
	if errors.As(err, new(*fsm.LevelError)) {
		return fmt.Errorf("%w: %w", store.ErrNewer, err)
	}
	return err
}

func (r *replay) close() { _ = r.fsm.Close() }

// run folds the entries that continue the base, up to entry limit. A batch ends at entry pause, if that is among them.
func (r *replay) run(limit, pause uint64) error {
	raftlog.Salvage(r.s.Path, r.s.Directory, func(e *raft.Log) {
		if r.err != nil || !r.base.chain.uses(e.Index) || e.Index > limit {
			return
		}
		r.batch = append(r.batch, e)
		r.bytes += len(e.Data)
		if e.Index == pause || len(r.batch) >= batchEntries || r.bytes >= batchBytes {
			r.fold()
		}
	})
	r.fold()
	if r.err == nil && r.index != limit {
		r.err = fmt.Errorf("%s has changed while it was read", r.s.Path)
	}
	return r.err
}

func (r *replay) fold() {
	if r.err != nil || len(r.batch) == 0 {
		return
	}
	last := r.batch[len(r.batch)-1]
	r.fsm.ApplyBatch(r.batch)
	r.batch, r.bytes = nil, 0
	if r.err = newer(r.fsm.Halted()); r.err != nil {
		return
	}
	r.index, r.term = last.Index, last.Term
	if r.reached != nil {
		r.reached(r.index)
	}
}

func (r *replay) point() Point {
	p := Point{Index: r.index, Term: r.term, Revision: r.fsm.Revision()}
	if t := r.fsm.LogTime(); t > 0 {
		p.Time = time.Unix(0, t).UTC()
	}
	return p
}

func membersOf(f *fsm.FSM) (members []Member) {
	for name, m := range f.Members() {
		members = append(members, Member{name, m.GetPeerAddress(), m.GetApiAddress(), m.GetDirectoryId()})
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return members
}

// discarding is a registry file that is read, and never written: what is appended is forgotten.
type discarding struct{ file *registry.Reader }

var errDiscarded = errors.New("only the newest state is kept")

func (d discarding) Load(v logv1.Visitor) (*logv1.RegistryMeta, error) { return d.file.Load(v) }
func (discarding) Append(*logv1.Delta)                                 {}
func (discarding) Snapshot() (raft.FSMSnapshot, error)                 { return nil, errDiscarded }
func (discarding) Replace(io.Reader) error                             { return errDiscarded }
func (discarding) DurableRevision() int64                              { return math.MaxInt64 }
func (discarding) AwaitDurable(context.Context, int64) error           { return nil }

func (discarding) Scan(context.Context, logv1.Visitor) (*logv1.RegistryMeta, error) {
	return nil, errDiscarded
}

// Events shows none: what the fold finds out from them is not asked for here.
func (discarding) Events(context.Context, logv1.EventQuery, func(*logv1.Event) (bool, error)) (logv1.EventSpan, error) {
	return logv1.EventSpan{}, nil
}

func (discarding) EventsAt(context.Context, logv1.Kind, int64, string, string, int, func(*logv1.Event) (bool, error)) (logv1.EventSpan, error) {
	return logv1.EventSpan{}, errDiscarded
}

func (discarding) RevisionAt(context.Context, int64) (int64, logv1.EventSpan, error) {
	return 0, logv1.EventSpan{}, errDiscarded
}
