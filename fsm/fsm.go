package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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

// RegistryFile is what the fold needs of the registry file on disk.
type RegistryFile interface {
	// Append takes what a batch changed; it is called for every batch, also for one that changed
	// nothing. It may block while too much is waiting to be written. It keeps d.
	Append(d *logv1.Delta)
	// Load visits the durable content. The meta is zero-valued when the registry file is new.
	Load(v logv1.Visitor) (*logv1.RegistryMeta, error)
	// Scan visits the durable content like Load, beside the writing of it: a visitor may take its
	// time. The error is ctx's, a visitor's, or wraps what is wrong with the registry file.
	Scan(ctx context.Context, v logv1.Visitor) (*logv1.RegistryMeta, error)
	// Snapshot returns a snapshot of exactly what was appended.
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
	// OnMismatch is told of replicas that differ: the index of a log entry after which this node and the
	// proposer of a later entry had different state hashes. It is called by raft's goroutine after the batch
	// is published, for every batch with such an entry. It must not wait. nil: nobody is told.
	OnMismatch func(index uint64)
	// OnLease is told of each lease whose record has changed, after the batch that changed it is published, in the
	// order of the batches; nil: the record is gone. It is called by raft's goroutine and must not block; nil: nobody is
	// told.
	OnLease func(id string, l *logv1.Lease)
	// OnLeasesReplaced is told that a snapshot has replaced the registry, and all leases with it. It must not block;
	// nil: nobody is told.
	OnLeasesReplaced func()
	// Intercept is for tests: called by raft's goroutine before each batch.
	Intercept func(*FSM)
	// Kinds are what the registry can hold. Only tests set it; nil: DefaultKinds.
	Kinds *Kinds
	// MaxLevel is the highest feature level to fold. Only tests set it; 0: logv1.Level.
	MaxLevel uint32
	// HashVersion is the version of the state hash. Only tests set it; 0: HashVersion.
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

// FSM is the registry in memory: a raft.BatchingFSM with the methods that read it. Raft calls Apply,
// ApplyBatch, Snapshot and Restore from one goroutine; everything else may be called from any.
type FSM struct {
	cfg Config

	// Used by raft's goroutine alone.
	state       *state
	index, term uint64         // of the newest entry in state
	loaded      uint64         // index when the registry file was loaded
	delivered   bool           // raft has delivered all entries that the registry file held at the start; see Snapshot
	touched     map[string]int // names of the batch that is being applied; empty between two batches

	published *statusmap.Map
	check     checked
	shown     atomic.Int64
	view      atomic.Pointer[view]
	halted    atomic.Pointer[error]

	accessChanged atomic.Pointer[chan struct{}] // closed at the next change
	readsOpen     atomic.Bool                   // see ReadsOpen

	membersChanged atomic.Pointer[chan struct{}] // closed at the next change

	watches         *watch.Table
	history         *history.Reader
	followers       *follow.Followers
	indexWaiters    *waiters
	revisionWaiters *waiters
	restores        atomic.Uint64
	brokeGlass      atomic.Uint64 // see Stats
	expired         atomic.Uint64 // see LayerStats
	revoked         atomic.Uint64
	previewing      sync.Mutex // guards nothing; see Preview

	hashes      *hashRing
	compared    hashCounters
	quarantined atomic.Bool // see Quarantine
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
	if s.members.revision, err = s.membersRevision(cfg.RegistryFile); err != nil {
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
		Overrides:    func() bool { l := f.view.Load().layers; return l.Live()+l.Ended() > 0 },
		Limits:       cfg.limits,
		RingEvents:   cfg.RingEvents,
		Newest:       s.revision,
	})
	f.shown.Store(s.revision)
	f.publishCut()
	f.check.show(s.layers)
	f.watches = watch.NewTable(f.watched)
	f.followers = follow.New(follow.Config{
		Events:    f.history,
		Registry:  shownRegistry{f},
		Subscribe: f.watches.Subscribe,
		Page:      cfg.limits.Page,
	})
	return f, nil
}

// Close stops waking watchers and followers. Reads and waits go on; WatchStatus ends with its context.
func (f *FSM) Close() error {
	f.watches.Close()
	f.followers.Close()
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
		f.brokeGlass.Add(b.brokeGlass)
		f.expired.Add(b.expired)
		f.revoked.Add(b.revoked)
		f.tellLeases(&b)
		if len(b.events) > 0 {
			f.history.NoteChange(start)
		}
		f.cfg.RegistryFile.Append(b.delta(f.state))
		if len(f.touched) > maxTouched { // clear costs as much as the largest batch so far did
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
		answer = f.foldEntry(&entry, l.Index, l.Term, b)
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

func (f *FSM) foldEntry(e *logv1.Entry, index, term uint64, b *batch) []any {
	s := f.state
	s.logTime = max(s.logTime, min(e.GetTime(), limits.MaxLogTime))
	s.term = term
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
