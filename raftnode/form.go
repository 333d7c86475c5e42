package raftnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/raftnode/forming"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/store"
)

const (
	probeTimeout  = time.Second
	probeInterval = 250 * time.Millisecond // on average, with as much jitter
	// minProbeInterval is between two rounds even if somebody who has a cluster says hello.
	minProbeInterval = 25 * time.Millisecond
)

// probeAll asks all other members, and the addresses to join, at once. It returns their answers in the order of their
// names, those of the addresses last.
func (n *Node) probeAll(ctx context.Context) []forming.Answer {
	var all []forming.Answer
	for _, name := range n.others() {
		all = append(all, forming.Answer{Member: n.member(name)})
	}
	for _, address := range n.cfg.Join {
		all = append(all, forming.Answer{Member: Member{PeerAddress: address}, Address: address})
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range all {
		a := &all[i]
		wg.Go(func() {
			if a.Member.Name != "" {
				a.Hello, a.Address, a.Err = n.port.Probe(ctx, a.Member.Name)
				return
			}
			a.Hello, a.Err = n.port.ProbeAddress(ctx, a.Address)
		})
	}
	wg.Wait()
	all = slices.DeleteFunc(all, n.isOwn)
	for i := range all {
		if all[i].Err != nil {
			all[i].Hello = nil // it refuses, as another node of this name does
		}
	}
	return all
}

// member is the named member as it is listed.
func (n *Node) member(name string) Member {
	for _, m := range n.cfg.Members {
		if m.Name == name {
			return m
		}
	}
	return Member{Name: name}
}

// isOwn reports whether an answer is this node's own.
func (n *Node) isOwn(a forming.Answer) bool {
	return a.Hello.GetNode() == n.cfg.Node && a.Hello.GetDirectoryId() == n.directoryID
}

// formingNode is this node as package forming sees it.
func (n *Node) formingNode() forming.Node {
	return forming.Node{
		View:        n.view(),
		PeerAddress: n.cfg.PeerAddress,
		Directory:   n.cfg.Directory.Path(),
		Force:       n.cfg.ForceBootstrap,
		Joins:       len(n.cfg.Join) > 0,
		Joined:      n.joined,
	}
}

// formRound asks everybody once and does what follows. It returns true when raft runs.
func (n *Node) formRound(ctx context.Context) (bool, error) {
	answers := n.probeAll(ctx)
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := n.checkRemoved(); err != nil {
		return false, err
	}
	d := forming.Decide(n.formingNode(), answers)
	switch {
	case d.Fatal != nil:
		return false, d.Fatal
	case d.Waiting != "":
		n.setWaiting(d.Waiting, d.Unknown)
		return false, nil
	case d.Adopt != nil:
		n.logger.Info("joining a cluster", "cluster", peerport.ShortClusterID(d.Adopt.ClusterID))
		return true, n.begin(d)
	}
	d.Found.ClusterID = forming.NewClusterID()
	n.logger.Info("forming a cluster", "cluster", peerport.ShortClusterID(d.Found.ClusterID), "forced", n.cfg.ForceBootstrap)
	return true, n.begin(d)
}

// begin stores to which cluster this node belongs, then starts raft.
func (n *Node) begin(d forming.Decision) error {
	f := cmp.Or(d.Adopt, d.Found)
	set := func() error { return n.cfg.Directory.SetFounding(*f) }
	if d.Joined {
		set = func() error { return n.cfg.Directory.SetJoined(*f, d.Roster) }
	}
	if err := set(); err != nil {
		return fmt.Errorf("join or form the cluster: %w", err)
	}
	n.joined = d.Joined
	n.noted.Store(d.Roster)
	n.founding.Store(f)
	n.warnOfDrift()
	return n.startRaft(d.Found != nil)
}

// resume starts raft on a directory that has a Founding.
func (n *Node) resume(ctx context.Context, f store.Founding) error {
	answers := n.probeAll(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.checkRemoved(); err != nil {
		return err
	}
	if err := forming.Check(n.formingNode(), answers); err != nil {
		return err
	}
	n.warnOfDrift()
	return n.startRaft(n.founds(f, answers))
}

// founds reports whether this node writes the first entry of the log if there is none. A node that was made a member of a
// cluster that ran never does.
func (n *Node) founds(f store.Founding, answers []forming.Answer) bool {
	if n.joined || len(f.Members) == 0 {
		return false
	}
	first := slices.MinFunc(f.Members, func(a, b store.FoundingMember) int { return strings.Compare(a.Name, b.Name) })
	if first.Name == n.cfg.Node {
		return true
	}
	// Who founded by force is not known. If anybody has the cluster already it was founded.
	return n.cfg.ForceBootstrap && !slices.ContainsFunc(answers, func(a forming.Answer) bool { return a.Hello.GetClusterId() != "" })
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
