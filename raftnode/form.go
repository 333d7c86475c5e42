package raftnode

import (
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

// probeAll asks all other members at once and returns their answers in the order of the list.
func (n *Node) probeAll(ctx context.Context) []forming.Answer {
	var others []forming.Answer
	for _, m := range n.cfg.Members {
		if m.Name != n.cfg.Node {
			others = append(others, forming.Answer{Member: m})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range others {
		a := &others[i]
		wg.Go(func() { a.Hello, a.Address, a.Err = n.port.Probe(ctx, a.Member.Name) })
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
	d := forming.Decide(n.view(), n.cfg.Directory.Path(), n.cfg.ForceBootstrap, answers)
	switch {
	case d.Fatal != nil:
		return false, d.Fatal
	case d.Waiting != "":
		n.setWaiting(d.Waiting)
		return false, nil
	case d.Adopt != nil:
		n.logger.Info("joining a cluster", "cluster", peerport.ShortClusterID(d.Adopt.ClusterID))
		return true, n.begin(*d.Adopt, false)
	}
	d.Found.ClusterID = forming.NewClusterID()
	n.logger.Info("forming a cluster", "cluster", peerport.ShortClusterID(d.Found.ClusterID), "forced", n.cfg.ForceBootstrap)
	return true, n.begin(*d.Found, true)
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
	if err := forming.Check(n.view(), n.cfg.Directory.Path(), answers); err != nil {
		return err
	}
	founder := len(f.Members) > 0 && slices.MinFunc(f.Members, func(a, b store.FoundingMember) int {
		return strings.Compare(a.Name, b.Name)
	}).Name == n.cfg.Node
	if !founder && n.cfg.ForceBootstrap {
		// Who founded by force is not known. If anybody has the cluster already it was founded.
		founder = !slices.ContainsFunc(answers, func(a forming.Answer) bool { return a.Hello.GetClusterId() != "" })
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
