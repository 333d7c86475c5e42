package audit

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

const (
	// examineTries is how often the members are asked before their silence counts, examinePause
	// apart: a member may be behind, or just be restarted.
	examineTries = 5
	examinePause = time.Second
	askTimeout   = time.Second
	// examineAgain is how long after an examination the next one begins at the earliest: once
	// replicas differ every entry says so.
	examineAgain = 10 * time.Second
	// handOverTimeout bounds one try to hand leadership over.
	handOverTimeout = 3 * time.Second
)

// Config is what an Auditor is made of. All of it is required.
type Config struct {
	Node          string
	ScrubInterval time.Duration // from the end of one check of all records to the begin of the next; 0: never
	Logger        *slog.Logger
}

// Parts are what an Auditor works on: they are there only after it.
type Parts struct {
	Fold         *fsm.FSM
	Raft         Raft
	Server       Server
	RegistryFile *registry.File
	Snapshots    *snapshot.Store
	// Quarantine has the next start rebuild the registry file.
	Quarantine func(reason string) error
}

// Raft is this node's part in agreement.
type Raft interface {
	Status() raftnode.Status
	Changed() <-chan struct{}
	TransferLeadership(context.Context) error
	Snapshot(context.Context) error
}

// Server asks members, and stops serving.
type Server interface {
	AskHash(ctx context.Context, member string, index uint64, own *logv1.StateHash) (*logv1.StateHash, error)
	Refresh()
	Diverged(index uint64)
}

// Auditor makes P9 true on one node: when there is reason to think that the replicas differ it asks
// all members, and stops this node from serving if a majority holds something else.
type Auditor struct {
	cfg     Config
	parts   Parts // set by Run
	log     *slog.Logger
	noticed chan suspicion // capacity 1: the oldest that nobody has looked into yet
	found   chan suspicion // by the scrubber, which waits

	diverged atomic.Pointer[divergence] // nil: it did not

	mu     sync.Mutex // guards the rest
	first  uint64     // entry at which something was seen first since all was well; 0: nothing was
	alarm  string     // why nobody can tell who is right; "": nothing
	blamed string     // who was found to differ last, so that it is said once
}

// suspicion is a reason to ask the members.
type suspicion struct {
	index uint64 // of the log entry at which something was seen
	first uint64 // of the first such entry since all was well; set by begin
	what  string // in words
	// contradicts is set when this node does not agree with itself: its word does not count.
	contradicts bool
	again       bool // it was examined before, without a result
}

// divergence is why this node does not serve any more.
type divergence struct {
	index uint64
	text  string
}

// New returns an Auditor that takes note of suspicions, and does nothing about them until Run.
func New(cfg Config) *Auditor {
	return &Auditor{cfg: cfg, log: cfg.Logger, noticed: make(chan suspicion, 1), found: make(chan suspicion)}
}

// Mismatch is called by the fold, see fsm.Config.OnMismatch.
func (a *Auditor) Mismatch(index uint64) {
	a.notice(suspicion{index: index, what: "an entry's proposer held another state hash"})
}

// Suspect implements server.Replica.
func (a *Auditor) Suspect(index uint64, member string) {
	a.notice(suspicion{index: index, what: fmt.Sprintf("%s holds another state hash", member)})
}

// notice never blocks: whatever is dropped shows again with the next entry.
func (a *Auditor) notice(s suspicion) {
	if a.diverged.Load() != nil {
		return
	}
	select {
	case a.noticed <- s:
	default:
	}
}

// Diverged says whether this node has stopped serving, because its registry is not the cluster's.
func (a *Auditor) Diverged() bool { return a.diverged.Load() != nil }

// State says why this node stopped serving, and what is the matter although it serves.
func (a *Auditor) State() (failed, alarm string) {
	if d := a.diverged.Load(); d != nil {
		return d.text, ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return "", a.alarm
}

// Run audits until ctx ends.
func (a *Auditor) Run(ctx context.Context, parts Parts) {
	a.parts = parts
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.replaceSnapshots(ctx) })
	if a.cfg.ScrubInterval > 0 {
		wg.Go(func() { a.scrub(ctx) })
	}
	a.investigate(ctx)
}

// investigate examines suspicions until ctx ends, or this node has diverged and ctx ends.
func (a *Auditor) investigate(ctx context.Context) {
	var noticed <-chan suspicion = a.noticed
	var rested <-chan time.Time
	for {
		var s suspicion
		select {
		case <-ctx.Done():
			return
		case <-rested:
			noticed, rested = a.noticed, nil
			continue
		case s = <-noticed:
		case s = <-a.found:
		}
		a.examine(ctx, s)
		if a.diverged.Load() != nil {
			a.stayOut(ctx)
			return
		}
		noticed, rested = nil, time.After(examineAgain)
	}
}

// examine asks all members what they held, and draws the conclusion.
func (a *Auditor) examine(ctx context.Context, s suspicion) {
	a.begin(&s)
	var f finding
	at := s.index
	if s.contradicts || s.again {
		// Who differs goes on differing; of a newer entry more members know.
		at = a.parts.Fold.AppliedIndex()
	}
	for try := range examineTries {
		if try > 0 {
			at = a.parts.Fold.AppliedIndex() // by the end of the pause the others will have applied it
			pause := time.NewTimer(examinePause)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
		}
		f = a.ask(ctx, at, s.contradicts)
		switch {
		case ctx.Err() != nil:
			return
		case f.outvoted(s.contradicts):
			a.stop(ctx, s, f)
			return
		case f.agrees() && (len(f.silent) == 0 || try == examineTries-1):
			a.acquitted(s, f)
			return
		}
	}
	a.raise(s, f)
	s.again = true
	a.notice(s)
}

// begin logs a suspicion, and notes in it the first entry at which something was seen since all was well.
func (a *Auditor) begin(s *suspicion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	level := slog.LevelWarn
	if a.alarm != "" {
		level = slog.LevelDebug // it has been said
	}
	a.log.Log(context.Background(), level, "replicas may differ: all members are asked for their state hash", "index", s.index, "reason", s.what)
	if a.first == 0 || s.index < a.first {
		a.first = s.index
	}
	s.first = a.first
}

// finding is what the voters held after one entry. Hashes are strings of their bytes.
type finding struct {
	index    uint64
	voters   int
	own      string            // "": not known
	held     map[string]string // by member, this node included if its word counts
	silent   []string          // voters that did not answer, with why
	majority string            // what more than half of the voters held; "": nothing
}

// decide fills in the majority. Those who hold nothing comparable stand against every majority.
func (f *finding) decide() {
	votes := map[string]int{}
	for _, hash := range f.held {
		if votes[hash]++; votes[hash] > f.voters/2 {
			f.majority = hash
		}
	}
}

// outvoted says whether a majority held something else than this node. A node that does not know what it
// held is not outvoted, unless it contradicts itself.
func (f *finding) outvoted(contradicts bool) bool {
	return f.majority != "" && (contradicts || f.own != "" && f.own != f.majority)
}

// agrees says whether this node is known to hold what the majority holds.
func (f *finding) agrees() bool { return f.majority != "" && f.own == f.majority }

// others are the members that held something else than the majority.
func (f *finding) others() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(f.held)) {
		if f.held[name] != f.majority {
			names = append(names, name)
		}
	}
	return names
}

// String says who held what.
func (f *finding) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.held)) {
		parts = append(parts, fmt.Sprintf("%s %.8x", name, f.held[name]))
	}
	return strings.Join(append(parts, f.silent...), ", ")
}

// ask collects what all voters held after an entry. With void this node's own hash does not count.
// In a cluster of one it never counts: the node would agree with itself.
func (a *Auditor) ask(ctx context.Context, index uint64, void bool) finding {
	voters := a.parts.Raft.Status().Voters
	f := finding{index: index, voters: len(voters), held: map[string]string{}}
	void = void || len(voters) == 1
	own := a.parts.Fold.HashAt(index)
	f.own = string(own.GetHash())
	tell := own
	if void {
		tell = nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex // guards f.held and f.silent
	var asking sync.WaitGroup
	for _, name := range voters {
		if name == a.cfg.Node {
			if own != nil && !void {
				mu.Lock()
				f.held[name] = f.own
				mu.Unlock()
			}
			continue
		}
		asking.Go(func() {
			answer, err := a.parts.Server.AskHash(ctx, name, index, tell)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				f.silent = append(f.silent, err.Error())
			case answer == nil:
				f.silent = append(f.silent, name+": does not know")
			case own != nil && answer.GetVersion() != own.GetVersion():
				f.silent = append(f.silent, name+": computes it in another way")
			default:
				f.held[name] = string(answer.GetHash())
			}
		})
	}
	asking.Wait()
	slices.Sort(f.silent)
	f.decide()
	return f
}

// acquitted ends an examination: this node holds what the majority holds.
func (a *Auditor) acquitted(s suspicion, f finding) {
	blamed := strings.Join(f.others(), ", ")
	a.mu.Lock()
	said := a.blamed == blamed
	a.first, a.alarm, a.blamed = 0, "", blamed
	a.mu.Unlock()
	a.parts.Server.Refresh()
	switch {
	case blamed == "":
		a.log.Info("replicas agree: this node holds what the majority holds", "index", f.index, "held", f.String())
	case !said:
		a.log.Error("a member's registry is not what the majority holds; it has to stop serving: see its log and docs/guarantees.md",
			"member", blamed, "index", s.index, "held", f.String())
	}
}

// raise sets the alarm: nobody can tell who is right.
func (a *Auditor) raise(s suspicion, f finding) {
	text := fmt.Sprintf("replicas differ at log entry %d (%s) and no majority of %d agrees: all go on serving; "+
		"have the silent members answer, see docs/guarantees.md", s.first, s.what, f.voters)
	a.mu.Lock()
	said := a.alarm != ""
	if !said {
		a.alarm = text
	}
	a.mu.Unlock()
	a.parts.Server.Refresh()
	if !said {
		a.log.Error("replicas differ and no majority agrees: all nodes go on serving until an operator compares them",
			"index", s.first, "reason", s.what, "held", f.String())
	}
}

// stop ends the serving of reads and writes, for good. A leader hands over first.
func (a *Auditor) stop(ctx context.Context, s suspicion, f finding) {
	text := fmt.Sprintf("its registry is not what the majority holds at log entry %d (%s): it serves no reads and writes; "+
		"restart it and it rebuilds the registry from its snapshot and log, see docs/guarantees.md", s.first, s.what)
	a.log.Error("this node's registry is not what the majority holds: it stops serving; restart it and it rebuilds the registry, see docs/guarantees.md",
		"index", s.first, "reason", s.what, "own", fmt.Sprintf("%.8x", f.own), "held", f.String())
	a.parts.Fold.Quarantine()
	if err := a.parts.Quarantine(fmt.Sprintf("at log entry %d the majority held something else (%s)", s.first, s.what)); err != nil {
		a.log.Error("move registry.db aside before this node is started again", "error", err)
	}
	a.handOver(ctx)
	a.diverged.Store(&divergence{s.first, text})
	a.parts.Server.Diverged(s.first)
}

func (a *Auditor) handOver(ctx context.Context) {
	if a.parts.Raft.Status().Role != raftnode.RoleLeader {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := a.parts.Raft.TransferLeadership(ctx); err != nil {
		a.log.Error("leadership was not handed over; it is tried again", "error", err)
	}
}

// stayOut hands leadership over whenever this node is elected: after it has diverged it still votes and
// stores entries, as the log is not the registry.
func (a *Auditor) stayOut(ctx context.Context) {
	for ctx.Err() == nil {
		changed := a.parts.Raft.Changed()
		a.handOver(ctx)
		var again <-chan time.Time
		if a.parts.Raft.Status().Role == raftnode.RoleLeader {
			again = time.After(examinePause)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
		}
	}
}
