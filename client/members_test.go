package client_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// Every option of a change of members reaches the node.
func TestMemberCallsAskForWhatTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx := t.Context()
		o := client.WriteOptions{Reason: "why", Actor: "who", RequestID: "id", DryRun: true}
		for _, test := range []struct {
			method string
			do     func() error
			want   proto.Message
		}{
			{"AddMember", func() error {
				_, err := c.AddMember(ctx, client.MemberChange{Name: "n4", PeerAddress: "n4:7601", Replica: true}, o)
				return err
			}, &rollcallv1.AddMemberRequest{Name: "n4", PeerAddress: "n4:7601", Replica: true, Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true}},
			{"RemoveMember", func() error {
				_, err := c.RemoveMember(ctx, client.MemberChange{Name: "n4", Force: true}, o)
				return err
			}, &rollcallv1.RemoveMemberRequest{Name: "n4", Force: true, Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true}},
			{"ReplaceMember", func() error {
				_, err := c.ReplaceMember(ctx, client.MemberChange{Name: "n4", PeerAddress: "n4:7601", Force: true}, o)
				return err
			}, &rollcallv1.ReplaceMemberRequest{Name: "n4", PeerAddress: "n4:7601", Force: true, Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true}},
			{"PromoteMember", func() error { _, err := c.PromoteMember(ctx, "n4", o); return err },
				&rollcallv1.PromoteMemberRequest{Name: "n4", Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true}},
			{"TransferLeadership", func() error { _, err := c.TransferLeadership(ctx, "n4"); return err }, &rollcallv1.TransferLeadershipRequest{To: "n4"}},
		} {
			if err := test.do(); err != nil {
				t.Errorf("%s: %v", test.method, err)
			}
			seen := f.nodes[0].seen(test.method)
			if got := seen[len(seen)-1].request.(proto.Message); !proto.Equal(got, test.want) {
				t.Errorf("%s:\ngot  %v\nwant %v", test.method, got, test.want)
			}
		}
	})
}

// What means nothing to a call is refused before anything is sent.
func TestMemberCallsRefuseWhatMeansNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		five := int64(5)
		options := map[string]client.WriteOptions{
			"WriteOptions.IfRevision": {IfRevision: &five}, "WriteOptions.AllowMissing": {AllowMissing: true},
			"WriteOptions.BreakGlass": {BreakGlass: []string{"*"}}, "WriteOptions.LeaseID": {LeaseID: "a"}, "WriteOptions.TTL": {TTL: time.Hour},
		}
		fields := map[string]client.MemberChange{
			"MemberChange.PeerAddress": {Name: "n4", PeerAddress: "n4:7601"}, "MemberChange.Replica": {Name: "n4", Replica: true}, "MemberChange.Force": {Name: "n4", Force: true},
		}
		for name, test := range map[string]struct {
			do      func(client.MemberChange, client.WriteOptions) error
			allowed []string
		}{
			"add": {func(m client.MemberChange, o client.WriteOptions) error {
				_, err := c.AddMember(t.Context(), m, o)
				return err
			}, []string{"MemberChange.PeerAddress", "MemberChange.Replica"}},
			"remove": {func(m client.MemberChange, o client.WriteOptions) error {
				_, err := c.RemoveMember(t.Context(), m, o)
				return err
			}, []string{"MemberChange.Force"}},
			"replace": {func(m client.MemberChange, o client.WriteOptions) error {
				_, err := c.ReplaceMember(t.Context(), m, o)
				return err
			}, []string{"MemberChange.PeerAddress", "MemberChange.Force"}},
			"promote": {func(m client.MemberChange, o client.WriteOptions) error {
				_, err := c.PromoteMember(t.Context(), m.Name, o)
				return err
			}, slices.Collect(func(yield func(string) bool) {
				for field := range fields {
					if !yield(field) {
						return
					}
				}
			})},
		} {
			check := func(what string, err error, sent int) {
				t.Helper()
				if slices.Contains(test.allowed, what) {
					if err != nil {
						t.Errorf("%s with %s: %v", name, what, err)
					}
					return
				}
				if e := failure(t, err); e.Code != codes.InvalidArgument || !strings.Contains(e.Message, what) || e.Member != "n4" || len(f.allUsed()) != sent {
					t.Errorf("%s with %s: %v", name, what, err)
				}
			}
			for what, o := range options {
				sent := len(f.allUsed())
				check(what, test.do(client.MemberChange{Name: "n4"}, o), sent)
			}
			for what, m := range fields {
				sent := len(f.allUsed())
				check(what, test.do(m, client.WriteOptions{}), sent)
			}
		}
	})
}

// TestLostAnswersOfMemberChanges: they are asked for again as the same request. What a node has seen around it before it
// asked the log does not say what became of the first try.
func TestLostAnswersOfMemberChanges(t *testing.T) {
	remove := func(f *fakeCluster, t *testing.T) error {
		_, err := f.client(t).RemoveMember(within(t, 5*time.Second), client.MemberChange{Name: "n4"}, client.WriteOptions{})
		return err
	}
	bubble := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	bubble("the answer is lost", func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[0].onAnswer = once(status.Error(codes.Unavailable, ""))
		if err := remove(f, t); err != nil {
			t.Error(err)
		}
		a, b := f.nodes[0].seen("RemoveMember")[0], f.nodes[1].seen("RemoveMember")[0]
		if _, events := f.writes(); events != 1 || a.requestID == "" || a.requestID != b.requestID {
			t.Errorf("%d events, request ids %q and %q", events, a.requestID, b.requestID)
		}
	})
	for _, reason := range []string{
		client.ReasonWouldLoseQuorum, client.ReasonChangeInProgress, client.ReasonMemberNotEmpty, client.ReasonMemberNotWaiting,
		client.ReasonMemberUnreachable, client.ReasonMemberMismatch, client.ReasonMemberAnswers, client.ReasonLastVoter,
	} {
		refused := refusal(codes.FailedPrecondition, reason, map[string]string{"written": "no", "member": "n4"})
		bubble(reason, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onWrite = once(refused)
			if e := failure(t, remove(f, t)); e.Written != client.WrittenNo || e.Reason != reason || e.Member != "n4" || len(f.nodes[1].seen("RemoveMember")) != 0 {
				t.Errorf("%+v", e)
			}
		})
		bubble(reason+" after a lost answer", func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onAnswer = once(status.Error(codes.Unavailable, ""))
			f.nodes[1].onWrite = once(refused)
			if e := failure(t, remove(f, t)); e.Written != client.WrittenUnknown || e.RequestID == "" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestTransferIsAskedForOnce: a second one could hand leadership back. It is tried elsewhere only if no node has done
// anything.
func TestTransferIsAskedForOnce(t *testing.T) {
	transfer := func(t *testing.T, f *fakeCluster) error {
		_, err := f.client(t).TransferLeadership(within(t, 5*time.Second), "")
		return err
	}
	asked := func(f *fakeCluster) int {
		return len(f.nodes[0].seen("TransferLeadership")) + len(f.nodes[1].seen("TransferLeadership"))
	}
	for name, lost := range lostAnswers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				f.nodes[0].onWrite = once(lost)
				if e := failure(t, transfer(t, f)); e.Written != client.WrittenUnknown || asked(f) != 1 {
					t.Errorf("asked %d times: %+v", asked(f), e)
				}
			})
		})
	}
	t.Run("a node takes its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onWrite = func(context.Context, int) error { time.Sleep(4 * time.Second); return nil }
			if err := transfer(t, f); err != nil || asked(f) != 1 {
				t.Errorf("asked %d times: %v", asked(f), err)
			}
		})
	})
	t.Run("a node hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onWrite = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
			if e := failure(t, transfer(t, f)); e.Written != client.WrittenUnknown || asked(f) != 1 {
				t.Errorf("asked %d times: %+v", asked(f), e)
			}
		})
	})
	t.Run("not transferred", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onWrite = once(refusal(codes.FailedPrecondition, client.ReasonNotTransferred, map[string]string{"written": "no"}))
			if e := failure(t, transfer(t, f)); e.Written != client.WrittenNo || e.Reason != client.ReasonNotTransferred || asked(f) != 1 {
				t.Errorf("asked %d times: %+v", asked(f), e)
			}
		})
	})
	t.Run("no leader is known there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].onWrite = once(refusal(codes.Unavailable, "NOT_WRITTEN", map[string]string{"written": "no"}))
			if err := transfer(t, f); err != nil || asked(f) != 2 {
				t.Errorf("asked %d times: %v", asked(f), err)
			}
		})
	})
	t.Run("nobody is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			f.nodes[0].kill()
			if err := transfer(t, f); err != nil || asked(f) != 1 {
				t.Errorf("asked %d times: %v", asked(f), err)
			}
		})
	})
}
