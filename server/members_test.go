package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestChangesOfMembersBecomeCommands: whichever node takes them. The answer says what becomes of the member.
func TestChangesOfMembersBecomeCommands(t *testing.T) {
	for _, entry := range []string{"n1", "n2"} {
		bubble(t, "by "+entry, func(t *testing.T) {
			c := memberCluster(t, 3)
			c.elect("n1")
			commands := c.foldMembers(folded)
			n := c.nodes[entry]
			n.members.answer("10.0.0.4:7601", waitingNode("n4", "d0000000-1111"), nil)
			n.members.answer("n3:7601", waitingNode("n3", "e0000000-1111"), nil)
			ctx := timeout(t, time.Minute)
			check := func(what string, got, want proto.Message, err error, cmd *logv1.Command) {
				t.Helper()
				if err != nil || !proto.Equal(got, want) {
					t.Errorf("%s:\ngot  %v, %v\nwant %v", what, got, err, want)
				}
				cmd.Actor, cmd.Reason, cmd.RequestId = &logv1.Actor{Name: "ann", Peer: "bufconn"}, "why", "id"
				if last := (*commands)[len(*commands)-1]; !proto.Equal(last, cmd) {
					t.Errorf("%s proposes\n%v, %v\nwant %v", what, last, memberCommandOf(last), memberCommandOf(cmd))
				}
			}

			added, err := n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "10.0.0.4:7601", Reason: "why", Actor: "ann", RequestId: "id"})
			n4 := &logv1.Member{Name: "n4", ApiAddress: "n4:7600", PeerAddress: "10.0.0.4:7601", DirectoryId: "d0000000-1111", Version: "v0.2.0", Level: 2}
			check("add", added, &rollcallv1.AddMemberResponse{Revision: 7, Member: &rollcallv1.Member{
				Name: "n4", ApiAddress: "n4:7600", PeerAddress: "10.0.0.4:7601", DirectoryId: "d0000000", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING,
			}}, err, logv1.AddMemberCommand(n4))

			added, err = n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "10.0.0.4:7601", Replica: true, Reason: "why", Actor: "ann", RequestId: "id"})
			n4.Replica = true
			check("add a replica", added, &rollcallv1.AddMemberResponse{Revision: 7, Member: &rollcallv1.Member{
				Name: "n4", ApiAddress: "n4:7600", PeerAddress: "10.0.0.4:7601", DirectoryId: "d0000000", Replica: true, Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING,
			}}, err, logv1.AddMemberCommand(n4))

			removed, err := n.cluster().RemoveMember(ctx, &rollcallv1.RemoveMemberRequest{Name: "n3", Reason: "why", Actor: "ann", RequestId: "id"})
			check("remove", removed, &rollcallv1.RemoveMemberResponse{Revision: 7, Member: &rollcallv1.Member{
				Name: "n3", DirectoryId: "c0000000", Voter: true, Phase: rollcallv1.MemberPhase_MEMBER_PHASE_VOTER,
			}}, err, logv1.RemoveMemberCommand("n3", "c0000000-1111", false))

			c.refuseDials("n3", errRefused)
			c.cutConnections("n3")
			replaced, err := n.cluster().ReplaceMember(ctx, &rollcallv1.ReplaceMemberRequest{Name: "n3", Reason: "why", Actor: "ann", RequestId: "id"})
			check("replace", replaced, &rollcallv1.ReplaceMemberResponse{Revision: 7, Member: &rollcallv1.Member{
				Name: "n3", ApiAddress: "n3:7600", PeerAddress: "n3:7601", DirectoryId: "e0000000", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING,
			}}, err, logv1.ReplaceMemberCommand(&logv1.Member{
				Name: "n3", ApiAddress: "n3:7600", PeerAddress: "n3:7601", DirectoryId: "e0000000-1111", Version: "v0.2.0", Level: 2,
			}, "c0000000-1111", false))

			promoted, err := n.cluster().PromoteMember(ctx, &rollcallv1.PromoteMemberRequest{Name: "n5", Reason: "why", Actor: "ann", RequestId: "id"})
			check("promote", promoted, &rollcallv1.PromoteMemberResponse{Revision: 7, Member: &rollcallv1.Member{
				Name: "n5", DirectoryId: "f0000000", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING,
			}}, err, logv1.PromoteMemberCommand("n5"))
		})
	}
}

// memberCalls are the calls that change members, each with requests that could be made of a cluster of n1, n2 and n3.
func add(name, address string) func(*testNode, context.Context) error {
	return func(n *testNode, ctx context.Context) error {
		_, err := n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: name, PeerAddress: address})
		return err
	}
}

func remove(name string, force bool) func(*testNode, context.Context) error {
	return func(n *testNode, ctx context.Context) error {
		_, err := n.cluster().RemoveMember(ctx, &rollcallv1.RemoveMemberRequest{Name: name, Force: force})
		return err
	}
}

func replace(name, address string, force bool) func(*testNode, context.Context) error {
	return func(n *testNode, ctx context.Context) error {
		_, err := n.cluster().ReplaceMember(ctx, &rollcallv1.ReplaceMemberRequest{Name: name, PeerAddress: address, Force: force})
		return err
	}
}

func promote(name string) func(*testNode, context.Context) error {
	return func(n *testNode, ctx context.Context) error {
		_, err := n.cluster().PromoteMember(ctx, &rollcallv1.PromoteMemberRequest{Name: name})
		return err
	}
}

// TestRepeatedMemberChange: a change whose answer was lost gets the first answer, from the fold, also when the node that
// was added is away, and also of a node that would refuse it by now. Else the caller is told what this node has seen.
func TestRepeatedMemberChange(t *testing.T) {
	const at = "n3:7601"
	exists := func(*logv1.MemberCommand) *logv1.Result {
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_MEMBER_EXISTS, Kind: logv1.Kind_KIND_MEMBER, Key: "n3"}}
	}
	calls := map[string]func(n *testNode, ctx context.Context) (*rollcallv1.Member, error){
		"add": func(n *testNode, ctx context.Context) (*rollcallv1.Member, error) {
			res, err := n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n3", PeerAddress: at, RequestId: "id"})
			return res.GetMember(), err
		},
		"replace": func(n *testNode, ctx context.Context) (*rollcallv1.Member, error) {
			res, err := n.cluster().ReplaceMember(ctx, &rollcallv1.ReplaceMemberRequest{Name: "n3", PeerAddress: at, RequestId: "id"})
			return res.GetMember(), err
		},
	}
	for call, do := range calls {
		for _, answers := range []bool{false, true} {
			for _, remembered := range []bool{false, true} {
				bubble(t, fmt.Sprintf("%s/answers %v/remembered %v", call, answers, remembered), func(t *testing.T) {
					c := memberCluster(t, 3)
					c.elect("n1")
					if answers {
						c.nodes["n1"].members.answer(at, hello(func(h *peerv1.Hello) {
							h.Node, h.DirectoryId, h.ClusterId, h.Waiting = "n3", "c0000000-1111", "3f9a", nil
						}), nil)
					}
					if remembered {
						c.foldMembers(folded)
					} else {
						c.foldMembers(exists)
					}
					m, err := do(c.nodes["n1"], timeout(t, time.Minute))
					want := "MEMBER_EXISTS"
					switch {
					case remembered:
						want = ""
					case call == "replace" && answers:
						want = "MEMBER_ANSWERS"
					case call == "replace":
						want = "MEMBER_UNREACHABLE"
					}
					if infoOf(err).GetReason() != want || want == "" && (m.GetDirectoryId() != "c0000000" || m.GetPhase() != rollcallv1.MemberPhase_MEMBER_PHASE_VOTER) {
						t.Errorf("%v, %v; want %q", m, err, want)
					}
				})
			}
		}
	}
}

// TestMemberChangesWaitUntilTheNodeKnowsAllMembers: what was acknowledged before is known. A node that cannot make sure
// proposes nothing, and says that nothing was written.
func TestMemberChangesWaitUntilTheNodeKnowsAllMembers(t *testing.T) {
	bubble(t, "it hears of them", func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		c.foldMembers(folded)
		n := c.nodes["n2"]
		c.nodes["n1"].agreement.onReadIndex(func(context.Context) (uint64, error) { return 9, nil })
		go func() {
			time.Sleep(time.Second)
			n.members.change(func(f *fakeMembers) { f.records["n4"] = &logv1.Member{Name: "n4", DirectoryId: "d0000000-1111"} })
			n.registry.apply(9)
		}()
		if _, err := n.cluster().AddMember(timeout(t, time.Minute), &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "n4:7601"}); err != nil || len(n.members.probed) != 0 {
			t.Errorf("%v, asked %v", err, n.members.probed)
		}
	})
	bubble(t, "nobody leads", func(t *testing.T) {
		c := memberCluster(t, 3)
		for call, do := range map[string]func(*testNode, context.Context) error{
			"add": add("n4", "n4:7601"), "remove": remove("n3", false), "replace": replace("n3", "", false), "promote": promote("n3"),
		} {
			err := do(c.nodes["n1"], timeout(t, time.Minute))
			if info := infoOf(err); info.GetReason() != "NOT_WRITTEN" || info.GetMetadata()["written"] != "no" || status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v", call, err)
			}
		}
		if n := c.nodes["n1"]; n.agreement.count() != 0 || len(n.members.probed) != 0 {
			t.Errorf("%d commands, asked %v", n.agreement.count(), n.members.probed)
		}
	})
}

// TestMemberChangesTakeTurns: what one was checked against is not changed by another one of the same node meanwhile.
func TestMemberChangesTakeTurns(t *testing.T) {
	bubble(t, "turns", func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		under, most := 0, 0
		n := c.nodes["n1"]
		for _, node := range c.nodes {
			node.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
				under++
				most = max(most, under)
				time.Sleep(100 * time.Millisecond)
				under--
				return folded(memberCommandOf(cmd)), nil
			})
		}
		done := make(chan error)
		for range 10 {
			go func() { done <- promote("n3")(n, timeout(t, time.Minute)) }()
		}
		for range 10 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if most != 1 {
			t.Errorf("%d at once", most)
		}
	})
}

// TestWhoMayChangeMembers: nobody is asked anything on behalf of a caller who may not.
func TestWhoMayChangeMembers(t *testing.T) {
	bubble(t, "denied", func(t *testing.T) {
		c := memberCluster(t, 3, func(cfg *Config) { cfg.LoopbackOnly = true })
		c.elect("n1")
		n := c.nodes["n1"]
		n.access.change(func(r *fakeRights) {
			r.enforced = true
			r.anonymous = access.New(access.Grant{Verbs: access.All &^ access.Cluster, Pattern: "*"})
		})
		for call, do := range map[string]func(*testNode, context.Context) error{
			"add": add("n4", "n4:7601"), "remove": remove("n3", false), "replace": replace("n3", "", false), "promote": promote("n3"),
			"transfer": func(n *testNode, ctx context.Context) error {
				_, err := n.cluster().TransferLeadership(ctx, &rollcallv1.TransferLeadershipRequest{})
				return err
			},
		} {
			err := do(n, timeout(t, time.Minute))
			info := infoOf(err)
			if status.Code(err) != codes.PermissionDenied || info.GetReason() != rpcerror.ReasonDenied || info.GetMetadata()["verb"] != "cluster" || info.GetMetadata()["written"] != "no" {
				t.Errorf("%s: %v", call, err)
			}
		}
		if n.agreement.count() != 0 || len(n.members.probed) != 0 {
			t.Errorf("%d commands, asked %v", n.agreement.count(), n.members.probed)
		}
		if denied := n.Denials()["cluster"]; denied != 5 {
			t.Errorf("%d denials are counted", denied)
		}
	})
}

// TestDryRunsOfMemberChanges: all is checked, nothing is proposed.
func TestDryRunsOfMemberChanges(t *testing.T) {
	bubble(t, "dry", func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		n := c.nodes["n1"]
		c.foldMembers(func(*logv1.MemberCommand) *logv1.Result { t.Error("proposed"); return &logv1.Result{} })
		n.members.answer("n4:7601", waitingNode("n4", "d0000000-1111"), nil)
		ctx := timeout(t, time.Minute)
		res, err := n.cluster().AddMember(ctx, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "n4:7601", ValidateOnly: true})
		if err != nil || res.GetRevision() != 0 || res.GetMember().GetDirectoryId() != "d0000000" {
			t.Errorf("%v, %v", res, err)
		}
		c.refuseDials("n2", errRefused)
		_, err = n.cluster().RemoveMember(ctx, &rollcallv1.RemoveMemberRequest{Name: "n3", ValidateOnly: true})
		if infoOf(err).GetReason() != "WOULD_LOSE_QUORUM" {
			t.Error(err)
		}
		_, err = n.cluster().ReplaceMember(ctx, &rollcallv1.ReplaceMemberRequest{Name: "n3", ValidateOnly: true, RequestId: "id"})
		if infoOf(err).GetReason() != "MEMBER_UNREACHABLE" {
			t.Error(err)
		}
	})
}

func infoOf(err error) *errdetails.ErrorInfo { return rpcerror.InfoOf(status.Convert(err)) }
