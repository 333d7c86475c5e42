package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/reconciler"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

const (
	// reconcileEvery is the pause between two looks while something is to be done.
	reconcileEvery = 250 * time.Millisecond
	// reconcileAnswer is how old an answer of a server may be that counts for a step.
	reconcileAnswer = 2 * time.Second
	// reconcileAgain is the pause after a step that failed.
	reconcileAgain = time.Second
)

var errConfigurationChanged = errors.New("raft's configuration changes")

// reconcile makes raft's configuration follow the members of the fold, one step at a time, while this node leads in a
// term. It sleeps while there is nothing to do. ctx ends with the leadership.
func (n *Node) reconcile(ctx context.Context, term uint64) {
	defer n.setSteps(nil)
	var watch reconciler.Watch
	failed := "" // why the last step was not made
	for ctx.Err() == nil {
		changed := n.cfg.State.MembersChanged()
		if s, _, err := n.compared(term); err == nil && reconciler.Settled(s) {
			watch.Forget()
			n.setSteps(nil)
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		step, index, waits := n.nextStep(ctx, term, &watch)
		n.setSteps(waits)
		pause := reconcileEvery
		if step.Kind != reconciler.None {
			err := n.makeStep(ctx, step, index)
			if err == nil {
				failed = ""
				continue
			}
			if err.Error() != failed && ctx.Err() == nil {
				failed = err.Error()
				n.logger.Warn("a change of raft's configuration failed; it is tried again", "member", step.Name, "error", err)
			}
			pause = reconcileAgain
		}
		sleep(ctx, pause, changed)
	}
}

// compared is what is and what should be, and the log index of the configuration that it was read from. The
// configuration is committed, and nobody but this leader of the term has changed it since.
func (n *Node) compared(term uint64) (reconciler.State, uint64, error) {
	r := n.raft.Load()
	index, err := n.log.Index()
	if err != nil {
		return reconciler.State{}, 0, err
	}
	s := reconciler.State{Node: n.cfg.Node, Servers: servers(r)}
	if index == 0 || r.CommitIndex() < index {
		return reconciler.State{}, 0, errConfigurationChanged
	}
	s.Members, s.Removed = n.cfg.State.Members(), n.cfg.State.Removed()
	// The log knows of a new configuration before raft does, but not on a leader of the same term.
	if r.State() != raft.Leader || r.CurrentTerm() != term {
		return reconciler.State{}, 0, ErrNotLeader
	}
	return s, index, nil
}

// nextStep asks all servers for a sign of life, and returns the step that their answers allow, as soon as they do. With
// no step it returns when all have answered, or had the time to.
func (n *Node) nextStep(ctx context.Context, term uint64, watch *reconciler.Watch) (reconciler.Step, uint64, map[string]string) {
	acks := n.trans.Acks()
	round := acks.NextRound()
	_ = n.raft.Load().VerifyLeader() // has heartbeats sent at once
	look := time.NewTicker(reconcileEvery)
	defer look.Stop()
	enough := time.NewTimer(reconcileAnswer)
	defer enough.Stop()
	for last := false; ; {
		answered := acks.Changed()
		s, index, err := n.compared(term)
		if err != nil {
			return reconciler.Step{}, 0, nil
		}
		n.observe(&s, term, round, watch)
		step, waits := reconciler.Next(s)
		if step.Kind != reconciler.None || last || len(s.Answered) == len(s.Servers) {
			return step, index, waits
		}
		select {
		case <-answered:
		case <-look.C:
		case <-enough.C:
			last = true
		case <-ctx.Done():
			return reconciler.Step{}, 0, waits
		}
	}
}

// observe fills in who has answered in a round or later, and how far all are.
func (n *Node) observe(s *reconciler.State, term, round uint64, watch *reconciler.Watch) {
	s.Answered = map[string]bool{n.cfg.Node: true}
	s.Progress = map[string]reconciler.Progress{}
	last, now := n.raft.Load().LastIndex(), time.Now()
	for _, server := range s.Servers {
		address := serveraddress.Of(server.Name, server.Directory)
		if n.trans.Acks().Since(address, term, round) {
			s.Answered[server.Name] = true
		}
		m, told := n.trans.Progress().Of(address, term)
		switch {
		case told:
			s.Progress[server.Name] = watch.Look(server, last-min(last, m.Index), m.At, now)
		case s.Answered[server.Name]: // it has taken nothing yet: the first part may be large
			s.Progress[server.Name] = reconciler.Progress{Known: true, Behind: last}
		}
	}
}

// makeStep makes one change and waits until it is committed. After an error it is not known whether it was made.
func (n *Node) makeStep(ctx context.Context, step reconciler.Step, index uint64) error {
	r := n.raft.Load()
	id, address := raft.ServerID(step.Name), serveraddress.Of(step.Name, step.Directory)
	log := n.logger.With("member", step.Name)
	n.tell(step, false)
	var err error
	change := func(f raft.IndexFuture) {
		workaround.EndWith(f, n.proposer.Abandoned())
		err = f.Error()
	}
	switch step.Kind {
	case reconciler.AddNonvoter:
		log.Info("adding a member to raft's configuration, without a vote", "directory", short(step.Directory))
		change(r.AddNonvoter(id, address, index, n.cfg.EnqueueTimeout))
	case reconciler.AddVoter:
		log.Info("a member has caught up and gets its vote", "directory", short(step.Directory))
		change(r.AddVoter(id, address, index, n.cfg.EnqueueTimeout))
	case reconciler.Remove:
		log.Info("removing a member from raft's configuration")
		change(r.RemoveServer(id, index, n.cfg.EnqueueTimeout))
	case reconciler.Transfer:
		log.Info("handing leadership over, as this node is to be removed", "to", step.To)
		err = n.TransferLeadershipTo(ctx, step.To)
	}
	if err == nil {
		n.tell(step, true)
	}
	return err
}

func (n *Node) tell(step reconciler.Step, done bool) {
	if n.cfg.stepped != nil {
		n.cfg.stepped(step, done)
	}
}

func (n *Node) setSteps(steps map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps = steps
}

// committedServers are those of the newest configuration that is known to be committed. Before any is, those of the
// newest one.
func (n *Node) committedServers(r *raft.Raft) []Server {
	newest := servers(r)
	if !n.log.Committed(n.committed(r)) {
		if known := n.servers.Load(); known != nil {
			return slices.Clone(*known)
		}
		return newest
	}
	n.servers.Store(&newest)
	return slices.Clone(newest)
}

// servers are those of raft's newest configuration, by name.
func servers(r *raft.Raft) []reconciler.Server {
	var all []reconciler.Server
	for _, s := range r.GetConfiguration().Configuration().Servers {
		_, directory := serveraddress.Split(s.Address)
		all = append(all, reconciler.Server{Name: string(s.ID), Directory: directory, Voter: s.Suffrage == raft.Voter})
	}
	slices.SortFunc(all, func(a, b reconciler.Server) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// short is how people see the id of a data directory.
func short(directory string) string { return fmt.Sprintf("%.8s", directory) }
