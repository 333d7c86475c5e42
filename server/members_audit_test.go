package server

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// TestChangesOfMembersAreAudited: where they were asked for. A transfer of leadership names who leads after it.
func TestChangesOfMembersAreAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		audit := openAudit(t)
		c := memberCluster(t, 3, audit.use)
		c.elect("n2")
		c.foldMembers(folded)
		n := c.nodes["n1"]
		n.members.answer("n4:7601", waitingNode("n4", "d0000000-1111"), nil)
		ctx := timeout(t, time.Hour)
		call := func(fails bool, _ any, err error) {
			t.Helper()
			if (err != nil) != fails {
				t.Errorf("fails %v: %v", fails, err)
			}
		}
		do := func(fails bool) func(any, error) {
			return func(res any, err error) { t.Helper(); call(fails, res, err) }
		}
		done, fails := do(false), do(true)
		done(n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "n4:7601", Reason: "room", Actor: "ann", RequestId: "1"}))
		done(n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "n4:7601", ValidateOnly: true}))
		fails(n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n5", PeerAddress: "n5:7601"}))
		done(n.cluster().PromoteMember(ctx, &rollcallv1.PromoteMemberRequest{Name: "n4"}))
		done(n.cluster().RemoveMember(ctx, &rollcallv1.RemoveMemberRequest{Name: "n3"}))
		fails(n.cluster().ReplaceMember(ctx, &rollcallv1.ReplaceMemberRequest{Name: "n3"}))
		c.handsOver("n2", 0)
		done(n.cluster().TransferLeadership(ctx, &rollcallv1.TransferLeadershipRequest{}))
		c.nodes["n3"].members.transfer = c.cutsOff("n3")
		fails(n.cluster().TransferLeadership(ctx, &rollcallv1.TransferLeadershipRequest{To: "n1"}))
		c.refuseDials("n3", nil)
		n.access.change(func(r *fakeRights) {
			r.enforced = true
			r.anonymous = access.New(access.Grant{Verbs: access.Status, Pattern: "*"})
		})
		fails(n.cluster().RemoveMember(ctx, &rollcallv1.RemoveMemberRequest{Name: "n3"}))
		fails(n.cluster().TransferLeadership(ctx, &rollcallv1.TransferLeadershipRequest{To: "n2"}))
		done(n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{}))
		const service = "rollcall.v1.Cluster/"
		line := func(method, name, outcome, refusal string) auditLine {
			l := auditLine{Identity: "anonymous", Method: service + method, Names: []string{name}, Outcome: outcome, Refusal: refusal}
			if outcome == "denied" {
				l.Verb = "cluster"
			}
			if outcome == "done" && method != "TransferLeadership" {
				l.Revision = 7
			}
			return l
		}
		first := line("AddMember", "n4", "done", "")
		first.OnBehalfOf, first.Reason, first.RequestID = "ann", "room", "1"
		checkLines(t, audit.lines(t), first,
			line("AddMember", "n5", "refused", "MEMBER_UNREACHABLE"),
			line("PromoteMember", "n4", "done", ""),
			line("RemoveMember", "n3", "done", ""),
			line("ReplaceMember", "n3", "refused", "MEMBER_UNREACHABLE"),
			line("TransferLeadership", "n3", "done", ""),
			line("TransferLeadership", "n1", "unknown", "OUTCOME_UNKNOWN"),
			line("RemoveMember", "n3", "denied", "DENIED"),
			line("TransferLeadership", "n2", "denied", "DENIED"),
		)
	})
}

// FuzzAddress: what is taken can be dialed, as far as a text can say; what is not gets one line.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"", "n4:7601", "10.0.0.4:7601", "[::1]:7601", "[fe80::1%eth0]:7601", "::1:7601", "0.0.0.0:1", "[::]:1", ":1", "n4", "n4:0", "n4:65536", "n4:-1", "n4:+1",
		"http://n4:1", "a b:1", "n4,n5:1", "n4:1,n5:1", "n4=n4:1", "n4:http", "n4:07601", "\x00:1", "\xff:1", "é:1", "e\u0301:1", "\u202e:1", "n4:1\n", "[n4]:1", "n4::1", "unix:/tmp/x", "n4:1/",
		strings.Repeat("n", 300) + ":1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		problem := addressProblem(address)
		if problem != "" {
			if strings.ContainsAny(problem, "\n\r\x00") || !utf8.ValidString(problem) || len(problem) > 1024 {
				t.Errorf("%q: %q", address, problem)
			}
			return
		}
		host, port, err := net.SplitHostPort(address)
		n, bad := strconv.Atoi(port)
		if err := errors.Join(err, bad); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " /,\n\x00") || len(address) > 262 {
			t.Errorf("%q is taken: host %q, port %q, %v", address, host, port, err)
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			t.Errorf("%q is taken", address)
		}
	})
}
