package cluster_test

import (
	"context"
	"syscall"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessMembersAddedWithOneDown: one of three members is down. A new one that falls silent as soon as it was added
// gets no vote, and one that answers gets it. Neither costs the leadership, nor a write.
func TestProcessMembersAddedWithOneDown(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.levelRisen()
	leader := c.leader()
	c.others(leader)[0].kill()
	status := func() *rollcallv1.GetStatusResponse {
		var res *rollcallv1.GetStatusResponse
		eventually(t, leader.name+" to answer", func(ctx context.Context) (ok bool) {
			var err error
			res, err = rollcallv1.NewClusterClient(leader.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
			return err == nil
		})
		return res
	}
	term := status().GetTerm()
	l := startPacedLoad(t, c.client(), 100)
	l.wait(20)

	silent := c.joiner("n4")
	silent.start()
	silent.waits("rollcall member add n4")
	silent.cmd.Process.Signal(syscall.SIGSTOP)
	if _, stderr, code := c.rollcall("member", "add", "n4", "--peer", silent.peer, "--no-wait"); code == 0 {
		t.Errorf("a node that does not answer was added: %s", stderr)
	}
	silent.cmd.Process.Signal(syscall.SIGCONT)
	c.run("member", "add", "n4", "--peer", silent.peer, "--no-wait")
	c.waitPhase("n4", rollcallv1.MemberPhase_MEMBER_PHASE_JOINING)
	silent.kill()
	l.wait(50)

	c.add(c.joiner("n5"))
	l.wait(50)
	if phase := c.members(t.Context())["n4"].GetMember().GetPhase(); phase != rollcallv1.MemberPhase_MEMBER_PHASE_JOINING {
		t.Errorf("n4, which is silent, is in %s", phase)
	}
	if res := status(); res.GetLeader() != leader.name || res.GetTerm() != term {
		t.Errorf("%s leads in term %d; it was %s in term %d", res.GetLeader(), res.GetTerm(), leader.name, term)
	}
	if failed := l.failed.Load(); failed > 0 {
		t.Errorf("%d writes failed", failed)
	}
	l.stop()
	l.verify(leader)
}
