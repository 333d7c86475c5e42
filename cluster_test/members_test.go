package cluster_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// What tests of member changes share.

// joiner returns a node that is started with --join, and waits until it is added. It is not started.
func (c *processes) joiner(name string) *process {
	c.t.Helper()
	p := c.newNode(name)
	for _, n := range c.nodes {
		p.join = append(p.join, n.peer)
	}
	return p
}

// waits waits until a node without data says which command makes it a member.
func (p *process) waits(command string) {
	p.t.Helper()
	eventually(p.t, p.name+" to say that it waits", func(context.Context) bool {
		if !p.running() {
			p.t.Fatalf("%s ended instead of waiting; its log:\n%s", p.name, tail(p.log.String(), 4000))
		}
		return strings.Contains(p.sinceStart(), command)
	})
}

// sinceStart is the log of the process that runs now.
func (p *process) sinceStart() string {
	log := p.log.String()
	return log[max(0, strings.LastIndex(log, "=== started, pid")):]
}

// wipe takes a stopped node's disk away.
func (p *process) wipe() {
	p.t.Helper()
	if err := os.RemoveAll(p.data); err != nil {
		p.t.Fatal(err)
	}
}

// members are the members as the leader tells them, by name; nil if none leads. Others may not have applied yet what was
// acknowledged.
func (c *processes) members(ctx context.Context) map[string]*rollcallv1.MemberStatus {
	for _, p := range c.nodes {
		if !p.running() || p.check(ctx, rollcallv1.OwnLeader) != serving {
			continue
		}
		res, err := rollcallv1.NewClusterClient(p.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
		if err != nil || res.GetLeader() == "" {
			continue
		}
		members := map[string]*rollcallv1.MemberStatus{}
		for _, m := range res.GetMembers() {
			members[m.GetMember().GetName()] = m
		}
		return members
	}
	return nil
}

// waitPhase waits until a member is in a phase, and UNSPECIFIED until it is none any more. It returns how long.
func (c *processes) waitPhase(name string, phase rollcallv1.MemberPhase) time.Duration {
	c.t.Helper()
	begun := time.Now()
	eventually(c.t, name+" to be in "+phase.String(), func(ctx context.Context) bool {
		members := c.members(ctx)
		return members != nil && members[name].GetMember().GetPhase() == phase
	})
	return time.Since(begun)
}

// add starts a node that joins, adds it by the command line, and waits until it votes, or follows as a replica.
func (c *processes) add(p *process) time.Duration {
	c.t.Helper()
	p.start()
	p.waits("rollcall member add " + p.name + " --peer " + p.peer)
	begun := time.Now()
	args := []string{"member", "add", p.name, "--peer", p.peer, "--reason", "grow"}
	want := rollcallv1.MemberPhase_MEMBER_PHASE_VOTER
	if p.replica {
		args, want = append(args, "--replica"), rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	}
	c.run(args...)
	c.waitPhase(p.name, want)
	took := time.Since(begun)
	c.nodes = append(c.nodes, p)
	p.waitStatus("", serving)
	return took
}

// replaceWiped kills a member, takes its disk away, starts it as it was started before, and replaces it by one
// command. It returns how long it took from that command on until the member votes again.
func (c *processes) replaceWiped(p *process) time.Duration {
	c.t.Helper()
	p.kill()
	p.wipe()
	p.start()
	p.waits("rollcall member replace " + p.name)
	begun := time.Now()
	c.run("member", "replace", p.name, "--reason", "its disk died")
	c.waitPhase(p.name, rollcallv1.MemberPhase_MEMBER_PHASE_VOTER)
	took := time.Since(begun)
	p.waitStatus("", serving)
	return took
}

// remove removes a member, and its process must end and say why. Started again it must say so again.
func (c *processes) remove(p *process) time.Duration {
	c.t.Helper()
	c.nodes = slices.DeleteFunc(c.nodes, func(n *process) bool { return n == p })
	begun := time.Now()
	c.run("member", "remove", p.name, "--reason", "shrink")
	c.waitPhase(p.name, rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED)
	took := time.Since(begun)
	for range 2 {
		if code := p.waitExit(); code != 7 {
			c.t.Errorf("%s, removed, ended with exit status %d", p.name, code)
		}
		if log := p.sinceStart(); !strings.Contains(log, "removed") || !strings.Contains(log, "never") {
			c.t.Errorf("%s does not say that it was removed:\n%s", p.name, tail(log, 3000))
		}
		p.start()
	}
	p.waitExit()
	return took
}
