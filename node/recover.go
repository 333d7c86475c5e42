package node

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node/survivor"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// RecoverOptions say how Recover makes the new cluster. The zero value is usable.
type RecoverOptions struct {
	Node          string   // name of the node; "": Members[0], or as before
	Members       []Member // the node's addresses; none: as before. More than one are refused
	CommittedOnly bool     // leave out what is not known to be committed
	LogStore      string   // one of LogStores; "": as before
	DryRun        bool     // change nothing
	Force         bool     // also if it is not needed: see NotNeededError
	// Step is for tests: see store.Recovery.
	Step func(name string) error
	// Kinds are what the registry can hold. Only tests set it; nil: fsm.DefaultKinds.
	Kinds *fsm.Kinds
}

// RecoveredCluster is what Recover made, or would make.
type RecoveredCluster struct {
	Data      string
	Kept      string // where the old directory is
	Member    Member // the only one; without an API address if it is not known
	ClusterID string
	Directory string // the id of the new directory
	From      store.Recovered
	// Survivor is what was found; nil: an earlier run was cut off when all of it was made, and this one has put the
	// new directory into its place.
	Survivor *survivor.Survivor
}

// Recover makes of the data directory of a stopped node that of the only member of a new cluster, and keeps the old
// one beside it. The new cluster goes on from the newest revision that the directory holds. It has another id, so that
// its nodes and those of the old one refuse each other. See store.Recover for what is there if it is cut off.
func Recover(dataDir string, opt RecoverOptions) (RecoveredCluster, error) {
	kinds := Config{Kinds: opt.Kinds}.kinds()
	path, err := filepath.Abs(dataDir)
	if err != nil {
		return RecoveredCluster{}, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return RecoveredCluster{}, fmt.Errorf("%s is not the data directory of a node: it is a file", path)
	}
	finished, err := store.FinishRecovery(path, opt.DryRun)
	if err != nil {
		return RecoveredCluster{}, err
	}
	if finished != nil {
		return ofFinished(path, finished), nil
	}
	if !opt.DryRun {
		if err := store.MakeLock(path); err != nil {
			return RecoveredCluster{}, err
		}
	}
	s, err := survivor.Read(path, kinds)
	if err != nil {
		return RecoveredCluster{}, err
	}
	defer s.Close()
	if !opt.Force {
		if err := notNeeded(path, s); err != nil {
			return RecoveredCluster{}, err
		}
	}
	member, err := memberOf(s, opt)
	if err != nil {
		return RecoveredCluster{}, err
	}
	directory, err := uuid.NewRandom()
	if err != nil {
		return RecoveredCluster{}, fmt.Errorf("make a directory id: %w", err)
	}
	cluster := make([]byte, 8)
	_, _ = rand.Read(cluster) // never fails
	at := s.Point(opt.CommittedOnly)
	r := RecoveredCluster{
		Data: path, Member: member, ClusterID: hex.EncodeToString(cluster), Directory: directory.String(), Survivor: s,
		From: store.Recovered{
			Node: s.Node, ClusterID: s.ClusterID, DirectoryID: s.Directory,
			Index: at.Index, Term: at.Term, Revision: at.Revision, CommittedOnly: opt.CommittedOnly,
			APIAddress: member.APIAddress,
		},
	}
	if opt.DryRun {
		return r, nil
	}
	kind := raftlog.Kind(opt.LogStore)
	if kind == "" {
		kind = s.LogKind
	}
	r.Kept, err = store.Recover(store.Recovery{
		Restoration: store.Restoration{
			Path: path, Node: member.Name, DirectoryID: r.Directory, LogKind: kind, Kinds: kinds,
			Term: s.Term,
			Founding: store.Founding{ClusterID: r.ClusterID, Members: []store.FoundingMember{
				{Name: member.Name, PeerAddress: member.PeerAddress, DirectoryID: r.Directory},
			}},
			Rehash: rehash(kinds, r.ClusterID),
		},
		From:  r.From,
		Build: func(dir string) (string, *logv1.RegistryMeta, error) { return s.Build(dir, opt.CommittedOnly) },
		Step:  opt.Step,
	})
	return r, err
}

func ofFinished(path string, f *store.Finished) RecoveredCluster {
	r := RecoveredCluster{
		Data: path, Kept: f.Kept, Directory: f.Identity.DirectoryID, From: f.Recovered,
		Member: Member{Name: f.Identity.Node, APIAddress: f.APIAddress},
	}
	if founding := f.Identity.Founding; founding != nil {
		r.ClusterID = founding.ClusterID
		for _, m := range founding.Members {
			r.Member.PeerAddress = m.PeerAddress
		}
	}
	return r
}

// memberOf is the only member of the new cluster.
func memberOf(s *survivor.Survivor, opt RecoverOptions) (Member, error) {
	m := Member{Name: cmp.Or(opt.Node, s.Node)}
	if m.Name == "" {
		return Member{}, errors.New("the name of the node is lost with its identity: give it by --node")
	}
	if !limits.NodeName(m.Name) {
		return Member{}, fmt.Errorf("node name %q is not allowed; use %s", m.Name, limits.NodeNameRule)
	}
	if len(opt.Members) > 0 {
		i := slices.IndexFunc(opt.Members, func(given Member) bool { return given.Name == m.Name })
		if i < 0 {
			return Member{}, fmt.Errorf("no --member is %s: give the addresses of that node, or another name by --node", m.Name)
		}
		m = opt.Members[i]
	}
	for _, known := range s.Members {
		// Addresses belong to the directory: another node may have had the name since.
		if m.PeerAddress == "" && known.Name == m.Name && (known.DirectoryID == s.Directory || known.DirectoryID == "" || s.Directory == "") {
			m.PeerAddress, m.APIAddress = known.PeerAddress, known.APIAddress
		}
	}
	if f := s.Identity.Founding; f != nil && m.PeerAddress == "" {
		for _, known := range f.Members {
			if known.Name == m.Name {
				m.PeerAddress = known.PeerAddress
				if r := s.Recovered; r != nil && m.APIAddress == "" { // then it was the only one
					m.APIAddress = r.APIAddress
				}
			}
		}
	}
	if roster := s.Identity.Roster; roster != nil && m.PeerAddress == "" {
		for _, known := range roster.Members {
			if known.Name == m.Name {
				m.PeerAddress = known.PeerAddress
			}
		}
	}
	if m.PeerAddress == "" {
		return Member{}, fmt.Errorf("the address of %s is not known: give it by --member %s,host=HOST", m.Name, m.Name)
	}
	check := Config{Members: []Member{m}, Insecure: true}
	if m.APIAddress == "" {
		check.Members[0].APIAddress = "127.0.0.1:0"
	}
	return m, check.validateMembers()
}
