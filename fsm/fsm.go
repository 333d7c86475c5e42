package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/follow"
	"github.com/rollcallhq/rollcall/fsm/history"
	"github.com/rollcallhq/rollcall/fsm/statusmap"
	"github.com/rollcallhq/rollcall/fsm/watch"
)

var (
	// ErrHalted means that this node met a committed entry it cannot apply, or a snapshot it cannot
	// restore, and changes nothing any more. It wraps the reason.
	ErrHalted = errors.New("the registry is halted on this node")
	// ErrSkipped answers entries that the registry file held already.
	ErrSkipped = errors.New("entry was applied before")
)

// RegistryFile is what the fold needs of the disk.
type RegistryFile interface {
	// Append takes what a batch changed; it is called for every batch, also for one that changed
	// nothing. It may block while too much is waiting to be written. It keeps d.
	Append(d *logv1.Delta)
	// Load visits the durable content. The meta is zero-valued when the registry file is new.
	Load(v logv1.Visitor) (*logv1.RegistryMeta, error)
	// Scan visits the durable content like Load, beside the writing of it: a visitor may take its
	// time. The error is ctx's, a visitor's, or wraps what is wrong with the registry file.
	Scan(ctx context.Context, v logv1.Visitor) (*logv1.RegistryMeta, error)
	// Snapshot is of exactly what was appended.
	Snapshot() (raft.FSMSnapshot, error)
	// Replace makes the registry file what r, a snapshot, says.
	Replace(r io.Reader) error
	history.RegistryFile
}

// DefaultRingEvents is how many recent events are kept in memory, unless told otherwise.
const DefaultRingEvents = 65536

// Config is what an FSM is made of.
type Config struct {
	RegistryFile RegistryFile
	Logger       *slog.Logger // nil: silent
	// OnFailure is called once, when the FSM halts: the node must stop. It is called from within
	// raft's apply, so it must not wait for raft; nil: nobody is told.
	OnFailure  func(error)
	RingEvents int // 0: DefaultRingEvents
	// OnApplied is told how long ApplyBatch took, the time it waited for the registry file's room included.
	// It must not block; nil: nobody is.
	OnApplied func(entries int, took time.Duration)
	// OnMismatch is told the index of a log entry after which the proposer of a later one held another
	// state hash than this node. It is called by raft's goroutine, after the batch is published, for
	// every batch that holds such an entry: it must not wait. nil: nobody is told.
	OnMismatch func(index uint64)
	// Intercept is for tests: called by raft's goroutine before each batch.
	Intercept func(*FSM)
	// Kinds are what the registry can hold. Only tests set it; nil: DefaultKinds.
	Kinds *Kinds
	// MaxLevel is the highest feature level to fold. Only tests set it; 0: logv1.Level.
	MaxLevel uint32
	// HashVersion is of the way the state hash is computed. Only tests set it; 0: HashVersion.
	HashVersion uint32
	// CommandLevel is for tests: it can say that a command needs a higher level than the table says.
	CommandLevel func(*logv1.Command) uint32

	limits history.Limits // of what is read at once; tests have others than history.DefaultLimits
}

// Validate says what is wrong with c.
func (c Config) Validate() error {
	if c.RegistryFile == nil {
		return errors.New("fsm: RegistryFile is missing")
	}
	if c.RingEvents < 0 {
		return fmt.Errorf("fsm: RingEvents is %d; it cannot be negative", c.RingEvents)
	}
	return nil
}

// FSM is the registry in memory: a raft.BatchingFSM, and what is read of it. Raft calls Apply,
// ApplyBatch, Snapshot and Restore from one goroutine; everything else may be called from any.
type FSM struct {
	cfg Config

	// Of raft's goroutine alone.
	state       *state
	index, term uint64         // of the newest entry in state
	loaded      uint64         // index when the registry file was loaded
	delivered   bool           // raft has delivered what was loaded, so it may truncate up to where it is
	touched     map[string]int // of the batch being applied; empty between two

	published *statusmap.Map
	shown     atomic.Int64
	view      atomic.Pointer[view]
	halted    atomic.Pointer[error]

	watches         *watch.Table
	history         *history.Reader
	followers       *follow.Followers
	indexWaiters    *waiters
	revisionWaiters *waiters
	restores        atomic.Uint64

	hashes     *hashRing
	compared   hashCounters
	distrusted atomic.Bool // see Distrust
}

var _ raft.BatchingFSM = (*FSM)(nil)

// New returns an FSM that holds what the registry file held. Close it.
func New(cfg Config) (*FSM, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.RingEvents == 0 {
		cfg.RingEvents = DefaultRingEvents
	}
	if cfg.Kinds == nil {
		cfg.Kinds = DefaultKinds()
	}
	if cfg.limits == (history.Limits{}) {
		cfg.limits = history.DefaultLimits()
	}
	if cfg.MaxLevel == 0 {
		cfg.MaxLevel = logv1.Level
	}
	if cfg.HashVersion == 0 {
		cfg.HashVersion = HashVersion
	}
	s, index, meta, err := loadState(cfg.RegistryFile, cfg.Kinds, cfg.MaxLevel, cfg.HashVersion)
	if err != nil {
		return nil, err
	}
	f := &FSM{
		cfg:             cfg,
		state:           s,
		index:           meta.GetIndex(),
		term:            meta.GetTerm(),
		loaded:          meta.GetIndex(),
		published:       index,
		touched:         map[string]int{},
		indexWaiters:    newWaiters(),
		revisionWaiters: newWaiters(),
		hashes:          newHashRing(),
	}
	f.history = history.NewReader(history.Config{
		RegistryFile: cfg.RegistryFile,
		Revision:     f.Revision,
		Horizon:      f.Horizon,
		Limits:       cfg.limits,
		RingEvents:   cfg.RingEvents,
		Newest:       s.revision,
	})
	f.shown.Store(s.revision)
	f.publishCut()
	f.watches = watch.NewTable(f.published.Status)
	f.followers = follow.New(follow.Config{
		Events:    f.history,
		Registry:  shownRegistry{f},
		Subscribe: f.watches.Subscribe,
		Page:      cfg.limits.Page,
	})
	return f, nil
}

// Close stops waking watchers. Reads and waits go on; WatchStatus ends with its context.
func (f *FSM) Close() error {
	f.watches.Close()
	return nil
}

// Apply is ApplyBatch of one entry.
func (f *FSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch folds committed entries. Each is answered with a []any that holds a *Result for every
// command of the entry, in order; with nil if it is raft's own; or with an error that wraps
// ErrSkipped or ErrHalted. Once halted it changes nothing.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	start := time.Now()
	if f.cfg.Intercept != nil {
		f.cfg.Intercept(f)
	}
	answers := make([]any, len(logs))
	err := f.Halted()
	already := err != nil
	b := batch{at: f.touched}
	for i, l := range logs {
		if err == nil {
			answers[i], err = f.fold(l, &b)
		}
		if err != nil {
			answers[i] = err
		}
	}
	if b.index != 0 {
		f.publish(&b)
		if len(b.events) > 0 {
			f.history.NoteChange(start)
		}
		f.cfg.RegistryFile.Append(b.delta(f.state))
		if len(f.touched) > maxTouched { // clearing takes as long as the largest batch so far was
			f.touched = map[string]int{}
		}
		clear(f.touched)
		f.release()
	}
	if b.mismatch != 0 && f.cfg.OnMismatch != nil {
		f.cfg.OnMismatch(b.mismatch)
	}
	if err != nil && !already {
		f.halt(err)
	}
	if f.cfg.OnApplied != nil {
		f.cfg.OnApplied(len(logs), time.Since(start))
	}
	return answers
}

// fold applies one entry to the state, whole or not at all. The error wraps ErrHalted.
func (f *FSM) fold(l *raft.Log, b *batch) (any, error) {
	halt := func(reason error) (any, error) {
		return nil, fmt.Errorf("%w: log entry %d of term %d: %w", ErrHalted, l.Index, l.Term, reason)
	}
	switch {
	case l.Index < f.index:
		return ErrSkipped, nil
	case l.Index == f.index:
		if l.Term != f.term {
			return halt(fmt.Errorf("the registry file holds this entry of term %d: it comes from another history", f.term))
		}
		f.delivered = true
		return ErrSkipped, nil
	case l.Term < f.term:
		return halt(fmt.Errorf("follows entry %d of term %d: the registry file comes from another history", f.index, f.term))
	}
	var answer any
	switch l.Type {
	case raft.LogCommand:
		var entry logv1.Entry
		if err := logv1.Open(l.Data, &entry); err != nil {
			return halt(err)
		}
		if err := f.state.admit(&entry, f.cfg.MaxLevel); err != nil {
			return halt(err)
		}
		f.compare(entry.GetStateHash(), b)
		answer = f.foldEntry(&entry, l.Index, b)
	case raft.LogConfiguration, raft.LogNoop, raft.LogBarrier:
	default:
		return halt(fmt.Errorf("raft's type %v is not known", l.Type))
	}
	f.index, f.term = l.Index, l.Term
	b.index, b.term = l.Index, l.Term
	b.hash = f.state.digest()
	f.hashes.put(l.Index, b.hash)
	f.delivered = f.delivered || l.Index >= f.loaded
	return answer, nil
}

func (f *FSM) foldEntry(e *logv1.Entry, index uint64, b *batch) []any {
	s := f.state
	s.logTime = max(s.logTime, min(e.GetTime(), limits.MaxLogTime))
	s.forget(b)
	answers := make([]any, len(e.GetCommands()))
	results := make([]Result, len(e.GetCommands()))
	for i, cmd := range e.GetCommands() {
		results[i] = s.fold(cmd, place{index, uint32(i)}, b)
		results[i].index = index
		answers[i] = &results[i]
	}
	return answers
}

// fold is one command: answered as before, refused, or done.
func (s *state) fold(cmd *logv1.Command, at place, b *batch) Result {
	if r, ok := s.requests.recall(cmd, s.revision); ok {
		return r
	}
	p := s.evaluate(cmd, s.logTime)
	if p.refusal == nil {
		b.events = s.commit(&p, cmd, b.events)
		b.add(&p)
	}
	result := p.result()
	if r := s.requests.remember(cmd, &result, at); r != nil {
		s.hashRequest(r, (*multiset).add)
		b.requests = append(b.requests, r)
	}
	s.forget(b)
	return result
}

// forget drops the request ids whose time, or room, is over.
func (s *state) forget(b *batch) {
	s.requests.evict(s.logTime, func(r *request) {
		s.hashRequest(r, (*multiset).remove)
		b.forget(r)
	})
}

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
		// Who joins after this look-up reads what was just published.
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
	// Every service there is has been put: if there are no more of them nothing has to go.
	if f.published.Services() > int64(f.state.services.Len()) {
		f.published.Retain(func(name string) bool { return rollcallv1.IsOwn(name) || f.state.get(name) != nil })
	}
	f.publishCut()
}

// publishCut is publishing but for the records.
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

// Snapshot answers raft.ErrNothingNewToSnapshot until raft has delivered the entries that the
// registry file already holds: a snapshot names the index that raft is at, and holds the registry file's.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Halted(); err != nil {
		return nil, err
	}
	if !f.delivered || f.distrusted.Load() {
		return nil, raft.ErrNothingNewToSnapshot
	}
	return f.cfg.RegistryFile.Snapshot()
}

// Restore makes the registry what an arriving snapshot says. If that fails the FSM halts, and goes
// on serving reads from the state it had until the process ends: by then the registry file may have dropped
// what it had not stored, and entries appended to it would leave a gap. The next start finds the
// snapshot in raft's store and the registry file behind it, and rebuilds the registry file from it.
func (f *FSM) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	start := time.Now()
	if err := f.Halted(); err != nil {
		return err
	}
	if err := f.restore(rc); err != nil {
		err = fmt.Errorf("%w: restore a snapshot: %w", ErrHalted, err)
		f.halt(err)
		return err
	}
	f.watches.WakeAll()
	f.release()
	f.restores.Add(1)
	f.cfg.Logger.Info("restored a snapshot",
		"index", f.index, "term", f.term, "revision", f.state.revision, "services", f.state.services.Len(), "took", time.Since(start).Round(time.Millisecond).String())
	return nil
}

func (f *FSM) restore(r io.Reader) error {
	if err := f.cfg.RegistryFile.Replace(r); err != nil {
		return err
	}
	s, _, meta, err := loadState(f.cfg.RegistryFile, f.cfg.Kinds, f.cfg.MaxLevel, f.cfg.HashVersion)
	if err != nil {
		return err
	}
	if s.revision < f.state.revision {
		// Watches never go back (P5). A restart may: nobody's stream lives through it.
		return fmt.Errorf("it is of revision %d; this node is at revision %d", s.revision, f.state.revision)
	}
	if f.state.clusterID != "" && s.clusterID != f.state.clusterID {
		return fmt.Errorf("it is of cluster %q; this node belongs to cluster %q", s.clusterID, f.state.clusterID)
	}
	f.state, f.delivered = s, true
	// The content of a snapshot can be of an older index than what this node holds without missing
	// anything, as raft's own no-ops never reach an FSM.
	if meta.GetIndex() > f.index {
		f.index, f.term = meta.GetIndex(), meta.GetTerm()
	}
	f.publishAll()
	return nil
}

// halt is called by raft's goroutine, at most once.
func (f *FSM) halt(err error) {
	f.halted.Store(&err)
	f.indexWaiters.fail(err)
	f.revisionWaiters.fail(err)
	f.cfg.Logger.Error("halted: this node can apply no more entries and must stop",
		"error", err, "index", f.index, "term", f.term, "revision", f.state.revision)
	if f.cfg.OnFailure != nil {
		f.cfg.OnFailure(err)
	}
}

// Halted returns why the FSM halted, wrapping ErrHalted; nil if it did not.
func (f *FSM) Halted() error {
	if err := f.halted.Load(); err != nil {
		return *err
	}
	return nil
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
