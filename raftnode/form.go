package raftnode

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/store"
)

// Forming a cluster.
//
// Raft is safe as long as no voter forgets what it voted and stored. A node that lost its disk has
// forgotten. If nodes bootstrapped by themselves from identical member lists, a wiped node and one
// that had not seen the newest entries would be a majority, elect a leader, and overwrite what was
// acknowledged by the third, which happens to be down. So memory of having been a member must not
// live on the lost disk alone:
//
//   - Every data directory has a random id from birth. A cluster's Founding lists, for every first
//     member, the id of the directory it had then, and every member stores the Founding before its
//     raft starts, hence before it votes for or stores anything.
//   - A node without a Founding never starts raft. It asks all listed members. One that has the
//     Founding and knows this node by this directory passes it on: the node joins, its log empty as
//     it has always been. One that knows this node by another directory tells it that it has lost
//     its data: it stops.
//   - Only the founder, the first member by name, makes a Founding, and only after every other
//     member has answered that it has none and was given the same list.
//
// Wiped while another is down: an acknowledged write is on a majority, and all of that majority have
// the Founding. Any founder, wiped or not, hears from every other member before it founds, so it
// hears from at least one with the Founding, unless the founder is all that is left of that majority,
// or a majority was wiped. A wiped node that is not the founder never founds; it waits, or stops.
//
// Two that found at once: they would need different founders, hence different lists; but each had an
// answer from the other, with its list, and lists that differ stop both. A founder that crashes after
// it stored the Founding bootstraps when it starts again: nobody else could have had a log before it.
// Answers may be stale when the founder acts on them, but nobody else makes a Founding meanwhile, and
// a member wiped in that moment is in the Founding with its old directory: it is refused.
//
// --force-bootstrap founds without the silent ones, whose directories are then not known ("" in the
// Founding, any will do until the member announces its own). It is for one node, and for those who
// know that the silent ones hold nothing.

const (
	probeTimeout  = time.Second
	probeInterval = 250 * time.Millisecond // on average, with as much jitter
	// minProbeInterval is between two rounds even if somebody who has a cluster says hello.
	minProbeInterval = 25 * time.Millisecond
)

// answer is how a member answered a probe.
type answer struct {
	member  Member
	address string        // that answered
	hello   *peerv1.Hello // nil: err says why
	err     error
}

// decision is what follows from a round of answers: exactly one field is set.
type decision struct {
	adopt   *store.Founding // a cluster's, which has this node as a member
	found   *store.Founding // to be made by this node; its ClusterID is still ""
	fatal   error
	waiting string // for what, in words
}

// decide says what a node without a Founding does after a round of answers, one for each other
// member.
func decide(v view, directory string, force bool, answers []answer) decision {
	if d, ok := decideByClusters(v, directory, answers); ok {
		return d
	}
	mine := memberAddresses(v.members)
	directories := map[string]string{v.node: v.directoryID}
	var silent []answer
	for _, a := range answers {
		if a.hello == nil {
			silent = append(silent, a)
			continue
		}
		theirs := map[string]string{}
		for _, m := range a.hello.GetMembers() {
			theirs[m.GetName()] = m.GetPeerAddress()
		}
		if !maps.Equal(mine, theirs) {
			return decision{fatal: &FormingError{fmt.Sprintf("%s and %s were given different members; %s: %s; %s: %s",
				v.node, a.member.Name, v.node, describeMembers(mine), a.member.Name, describeMembers(theirs))}}
		}
		directories[a.member.Name] = a.hello.GetDirectoryId()
	}
	founder := slices.Min(slices.Collect(maps.Keys(mine)))
	if !force && (v.node != founder || len(silent) > 0) {
		return decision{waiting: describeWaiting(v.node, founder, silent)}
	}
	f := &store.Founding{}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		f.Members = append(f.Members, store.FoundingMember{Name: name, PeerAddress: mine[name], DirectoryID: directories[name]})
	}
	return decision{found: f}
}

// decideByClusters decides if anybody who answered has a cluster.
func decideByClusters(v view, directory string, answers []answer) (decision, bool) {
	var formed []answer
	for _, a := range answers {
		if a.hello.GetClusterId() != "" {
			formed = append(formed, a)
		}
	}
	if len(formed) == 0 {
		return decision{}, false
	}
	first := formed[0]
	for _, a := range formed[1:] {
		if a.hello.GetClusterId() != first.hello.GetClusterId() {
			return decision{fatal: &FormingError{fmt.Sprintf("%s (%s) belongs to cluster %s, but %s (%s) belongs to cluster %s",
				first.member.Name, first.address, ShortClusterID(first.hello.GetClusterId()),
				a.member.Name, a.address, ShortClusterID(a.hello.GetClusterId()))}}, true
		}
	}
	// One that knows this directory suffices: the others' folds may be behind.
	listed := false
	for _, a := range formed {
		directory, ok := directoryOf(v.node, a.hello)
		listed = listed || ok
		if ok && (directory == "" || directory == v.directoryID) && a.hello.GetFounding() != nil {
			return decision{adopt: foundingFromProto(a.hello.GetFounding())}, true
		}
	}
	cluster := ShortClusterID(first.hello.GetClusterId())
	if listed {
		return decision{fatal: &FormingError{fmt.Sprintf("%s belongs to cluster %s but %s is empty; see \"rollcall member replace\"",
			v.node, cluster, directory)}}, true
	}
	return decision{fatal: &FormingError{fmt.Sprintf("%s is not a member of cluster %s, which %s (%s) belongs to; see \"rollcall member add\"",
		v.node, cluster, first.member.Name, first.address)}}, true
}

// directoryOf is the directory by which the sender of a hello knows a node, and whether it knows it
// at all. What was announced to the cluster is newer than its founding.
func directoryOf(node string, h *peerv1.Hello) (string, bool) {
	if id := h.GetYourDirectoryId(); id != "" {
		return id, true
	}
	return foundingDirectory(h.GetFounding(), node)
}

// decideAgain checks a node that has a Founding against what its peers answered at its start. Those
// who are silent or have no cluster do not matter.
func decideAgain(v view, directory string, answers []answer) error {
	var stranger error
	for _, a := range answers {
		id := a.hello.GetClusterId()
		if id == "" {
			continue
		}
		if id != v.clusterID() {
			return &FormingError{fmt.Sprintf("%s belongs to cluster %s, but %s (%s) belongs to cluster %s",
				directory, ShortClusterID(v.clusterID()), a.member.Name, a.address, ShortClusterID(id))}
		}
		known, ok := directoryOf(v.node, a.hello)
		if ok && known == v.directoryID {
			return nil
		}
		if ok && known != "" && stranger == nil {
			stranger = &FormingError{fmt.Sprintf("%s is not the data directory by which %s (%s) knows %s; see \"rollcall member replace\"",
				directory, a.member.Name, a.address, v.node)}
		}
	}
	return stranger
}

func memberAddresses(members []Member) map[string]string {
	m := make(map[string]string, len(members))
	for _, member := range members {
		m[member.Name] = member.PeerAddress
	}
	return m
}

// describeWaiting says for whom a node waits and why they do not answer.
func describeWaiting(node, founder string, silent []answer) string {
	names := make([]string, 0, len(silent)+1)
	reasons := make([]string, 0, len(silent))
	for _, a := range silent {
		names = append(names, a.member.Name)
		reasons = append(reasons, a.member.Name+": "+inWords(a.err))
	}
	if node != founder && !slices.Contains(names, founder) {
		names = append([]string{founder}, names...)
	}
	text := "waiting for " + strings.Join(names, ", ") + " to form the cluster"
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, "; ")
	}
	return text
}

func newClusterID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// probeAll asks all other members at once and returns their answers in the order of the list.
func (n *Node) probeAll(ctx context.Context) []answer {
	var others []answer
	for _, m := range n.cfg.Members {
		if m.Name != n.cfg.Node {
			others = append(others, answer{member: m})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range others {
		a := &others[i]
		wg.Go(func() { a.hello, a.address, a.err = n.port.probe(ctx, a.member.Name) })
	}
	wg.Wait()
	return others
}

// formRound asks everybody once and does what follows. It returns true when raft runs.
func (n *Node) formRound(ctx context.Context) (bool, error) {
	answers := n.probeAll(ctx)
	if err := ctx.Err(); err != nil {
		return false, err
	}
	d := decide(n.view(), n.cfg.Directory.Path(), n.cfg.ForceBootstrap, answers)
	switch {
	case d.fatal != nil:
		return false, d.fatal
	case d.waiting != "":
		n.setWaiting(d.waiting)
		return false, nil
	case d.adopt != nil:
		n.logger.Info("joining a cluster", "cluster", ShortClusterID(d.adopt.ClusterID))
		return true, n.begin(*d.adopt, false)
	}
	d.found.ClusterID = newClusterID()
	n.logger.Info("forming a cluster", "cluster", ShortClusterID(d.found.ClusterID), "forced", n.cfg.ForceBootstrap)
	return true, n.begin(*d.found, true)
}

// begin stores how the cluster began, then starts raft.
func (n *Node) begin(f store.Founding, bootstrap bool) error {
	if err := n.cfg.Directory.SetFounding(f); err != nil {
		return fmt.Errorf("form the cluster: %w", err)
	}
	n.founding.Store(&f)
	return n.startRaft(bootstrap)
}

// resume starts raft on a directory that has a Founding.
func (n *Node) resume(ctx context.Context, f store.Founding) error {
	answers := n.probeAll(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := decideAgain(n.view(), n.cfg.Directory.Path(), answers); err != nil {
		return err
	}
	founder := len(f.Members) > 0 && slices.MinFunc(f.Members, func(a, b store.FoundingMember) int {
		return strings.Compare(a.Name, b.Name)
	}).Name == n.cfg.Node
	if !founder && n.cfg.ForceBootstrap {
		// Who founded by force is not known. If anybody has the cluster already it was founded.
		founder = !slices.ContainsFunc(answers, func(a answer) bool { return a.hello.GetClusterId() != "" })
	}
	return n.startRaft(founder)
}

// form goes on asking until raft runs, ctx ends, or nothing helps. Somebody who says hello and has
// a cluster cuts a pause short.
func (n *Node) form(ctx context.Context) error {
	for {
		// Never without a pause: a stranger's hellos must not make this a storm.
		if !sleep(ctx, minProbeInterval, nil) || !sleep(ctx, probeInterval/2+mathrand.N(probeInterval), n.kick) {
			return nil
		}
		formed, err := n.formRound(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if formed || err != nil {
			return err
		}
	}
}

// sleep pauses for d or until early; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
		return false
	}
	return true
}
