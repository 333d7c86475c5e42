package survivor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

// Point is a place in the log, with the revision of the registry there.
type Point struct {
	Index, Term uint64
	Revision    int64
	Time        time.Time // log time
}

// Survivor is what is left of a node. Close it.
type Survivor struct {
	Path      string
	Node      string // "": its identity is lost
	ClusterID string // "": it belongs to none
	Directory string // its id
	LogKind   raftlog.Kind
	// Term is the highest one that anything in the directory names.
	Term uint64
	// Base says what the log is folded onto: "registry.db", a snapshot by its path, or "the log alone". Held is what that
	// holds, which was committed.
	Base string
	Held Point
	// Last is the newest entry that can be used. Up to Committed, entries are known to be committed.
	Last, Committed Point
	// Configuration is raft's newest one: it may not be committed.
	Configuration raft.Configuration
	// Notes say what is damaged, and is of no consequence. Missing says what may be lost with it.
	Notes, Missing []string

	Identity store.Identity
	Members  []Member // that the registry names, by name
	// Recovered says of what a recovery made the directory; nil: none has.
	Recovered *store.Recovered
	// KeptFor is the directory of the node that was recovered, if this one is the old directory that the recovery has
	// kept, by its name; "": it is not.
	KeptFor string
	// Removed are the ids of the directories that the registry knows to be members no more.
	Removed map[string]bool

	dir   *store.Directory
	kinds *fsm.Kinds
	base  *base
}

// Member is a member as the registry names it.
type Member struct{ Name, PeerAddress, APIAddress, DirectoryID string }

// Uncertain is how many entries are there that are not known to be committed.
func (s *Survivor) Uncertain() uint64 { return s.Last.Index - s.Committed.Index }

// After is how many entries come after what the base holds.
func (s *Survivor) After() uint64 { return s.Last.Index - s.Held.Index }

// Voter reports whether the node votes in the newest configuration that it knows of.
func (s *Survivor) Voter() bool { return votes(s.Configuration, s) }

// Alone reports whether the node can go on by itself: it is the only member that votes, and nothing is missing.
func (s *Survivor) Alone() bool {
	return s.Identity.Founding != nil && len(s.Missing) == 0 && !s.Removed[s.Directory] && len(s.Voters()) == 1 && s.Voter()
}

// votes reports whether a survivor votes in a configuration.
func votes(c raft.Configuration, s *Survivor) bool {
	return slices.ContainsFunc(c.Servers, func(server raft.Server) bool {
		return server.Suffrage == raft.Voter && is(server, s.Node, s.Directory)
	})
}

// Voters are the names of the members that vote in Configuration, sorted.
func (s *Survivor) Voters() []string {
	var names []string
	for _, server := range s.Configuration.Servers {
		if server.Suffrage == raft.Voter {
			names = append(names, string(server.ID))
		}
	}
	slices.Sort(names)
	return names
}

// Close lets a node start on the directory.
func (s *Survivor) Close() error {
	if s.base != nil {
		s.base.close()
	}
	return s.dir.Close()
}

// ErrNothing means that a directory holds no registry that could be used.
var ErrNothing = errors.New("nothing that could be used")

// Read reads all of a stopped node's data directory. kinds are what the registry can hold; nil: fsm.DefaultKinds. A node cannot start on it until Close. The error is
// store.ErrInUse, says that it is not the data directory of a node, wraps store.ErrNewer, or wraps ErrNothing: then it
// says all that is wrong.
func Read(path string, kinds *fsm.Kinds) (_ *Survivor, err error) {
	if kinds == nil {
		kinds = fsm.DefaultKinds()
	}
	if of := store.RecoveringFor(path); of != "" {
		return nil, fmt.Errorf("%s is what a recovery of %s works on: run \"rollcall recover --data %s\" again, and it is ended", path, of, of)
	}
	d, lost, err := store.OpenDamaged(path)
	if err != nil {
		return nil, err
	}
	s := &Survivor{Path: path, Identity: d.Identity(), dir: d, kinds: kinds, Recovered: store.RecoveredNote(path), KeptFor: store.KeptFor(path)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if lost != nil {
		s.Notes = append(s.Notes, lost.Error())
	}
	s.Node, s.Directory = s.Identity.Node, s.Identity.DirectoryID
	if f := s.Identity.Founding; f != nil {
		s.ClusterID = f.ClusterID
	}
	return s, s.read()
}

func (s *Survivor) read() error {
	snapshots, err := snapshot.Verify(s.Path)
	if err != nil {
		s.Notes = append(s.Notes, err.Error())
	}
	bases, faults, err := s.bases(snapshots)
	if err != nil {
		return err
	}
	s.Notes = append(s.Notes, faults...)
	defer func() {
		for _, b := range bases {
			if b != s.base {
				b.close()
			}
		}
	}()

	log := raftlog.Salvage(s.Path, s.Directory, func(entry *raft.Log) {
		for _, b := range bases {
			b.chain.take(entry)
		}
	})
	s.LogKind, s.Term = log.Kind, log.Term
	if s.Directory == "" {
		s.Directory = log.DirectoryID
	}
	if log.Newer != nil {
		return log.Newer
	}
	if log.CutShort {
		s.Notes = append(s.Notes, "a crash cut the last append to the raft log short: nobody was told that it was stored")
	}
	var best *trial
	var unused []string
	for _, b := range bases {
		t, err := s.try(b, log)
		if errors.Is(err, store.ErrNewer) {
			return err
		}
		if err != nil {
			unused = append(unused, err.Error())
			continue
		}
		if best == nil || t.better(best) {
			best = t
		}
		if len(best.missing) == 0 {
			break
		}
	}
	s.Notes = append(s.Notes, log.Problems...)
	if best == nil || best.last.Index == 0 {
		reason := slices.Concat(s.Notes, unused)
		if len(reason) == 0 {
			reason = []string{"it belongs to no cluster yet"}
		}
		return fmt.Errorf("%s holds %w: %s", s.Path, ErrNothing, strings.Join(reason, "; "))
	}
	s.take(best)
	for _, reason := range unused {
		if reason != errNotWhole.Error() {
			s.Notes = append(s.Notes, reason)
		}
	}
	return nil
}

// take makes what a trial found what the survivor holds.
func (s *Survivor) take(t *trial) {
	b := t.base
	s.base = b
	s.Base, s.Held, s.Last, s.Committed = b.name, b.held, t.last, t.committed
	s.Configuration, s.Members, s.Removed = b.chain.configuration(), t.members, t.removed
	s.Missing = t.missing
	if s.Identity.Removed != nil {
		s.Removed[s.Directory] = true
	}
	if s.Removed[s.Directory] {
		s.Notes = append(s.Notes, fmt.Sprintf("%s was removed from cluster %s: what the cluster did since then is not here", s.called(), s.ClusterID))
	}
	if s.ClusterID == "" {
		s.ClusterID = t.clusterID
	}
	s.Term = max(s.Term, s.Last.Term)
	if s.Directory == "" {
		s.Directory = b.directory
	}
}
