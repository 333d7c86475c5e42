package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func (n *testNode) accessClient() rollcallv1.AccessClient {
	return rollcallv1.NewAccessClient(n.conn)
}

// addToken makes a token known to a node.
func (n *testNode) addToken(name string, t accesstoken.Token, expireTime int64) {
	sum := t.SHA256()
	n.access.change(func(r *fakeRights) {
		r.tokens[t.ID()] = fakeToken{name, &logv1.Token{SecretSha256: sum[:], ExpireTime: expireTime}}
	})
}

func (n *testNode) removeToken(t accesstoken.Token) {
	n.access.change(func(r *fakeRights) { delete(r.tokens, t.ID()) })
}

// with is a call with a token.
func with(ctx context.Context, t accesstoken.Token) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+t.Text())
}

// actorOf is the actor of the command that a node proposed last, without its address, which must be there.
func (n *testNode) lastActor(t *testing.T) *logv1.Actor {
	t.Helper()
	n.agreement.mu.Lock()
	defer n.agreement.mu.Unlock()
	a := proto.CloneOf(n.agreement.proposed[len(n.agreement.proposed)-1].GetActor())
	if a.GetPeer() == "" {
		t.Error("the actor has no address")
	}
	a.Peer = ""
	return a
}

// TestChangesCarryWhoMadeThem: whatever the call, and whichever node it comes in by, the actor is who proved to be it.
func TestChangesCarryWhoMadeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		token := accesstoken.New()
		for _, n := range c.nodes {
			n.addToken("ci", token, 0)
		}
		verified := &logv1.Actor{Name: "token:ci", Verified: true, OnBehalfOf: "ann", Credential: token.ID()}
		for _, tt := range []struct {
			name string
			ctx  func(context.Context) context.Context
			want *logv1.Actor
		}{
			{"nobody", func(ctx context.Context) context.Context { return ctx }, &logv1.Actor{Name: "ann"}},
			{"a token", func(ctx context.Context) context.Context { return with(ctx, token) }, verified},
		} {
			for _, via := range c.names {
				n := c.nodes[via]
				ctx := tt.ctx(timeout(t, 5*time.Second))
				check := func(call string, err error) {
					t.Helper()
					if err != nil {
						t.Errorf("%s of %s by %s: %v", call, tt.name, via, err)
						return
					}
					if got := c.nodes["n2"].lastActor(t); !proto.Equal(got, tt.want) {
						t.Errorf("%s of %s by %s: the actor is %v, want %v", call, tt.name, via, got, tt.want)
					}
				}
				set := setRequest("a", serving)
				set.Actor = "ann"
				res, err := n.admin().SetServingStatus(ctx, set)
				check("SetServingStatus", err)
				if a := res.GetService().GetReport().GetActor(); a.GetName() != tt.want.GetName() || a.GetVerified() != tt.want.GetVerified() || a.GetOnBehalfOf() != tt.want.GetOnBehalfOf() {
					t.Errorf("the answer to %s names %v", tt.name, a)
				}
				_, err = n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{Actor: "ann", Changes: []*rollcallv1.StatusChange{{Service: "a", Status: serving.Enum()}}})
				check("BatchSetServingStatus", err)
				_, err = n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Actor: "ann", Service: "a"})
				check("DeleteService", err)
				_, err = n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{Actor: "ann", Pattern: "a", Status: serving.Enum()})
				check("SetOverride", err)
				_, err = n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Actor: "ann", Pattern: "a"})
				check("ClearOverride", err)
				_, err = n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{Actor: "ann", Name: "r", Pattern: "a/*", MinServing: proto.Int64(1)})
				check("SetRule", err)
				_, err = n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Actor: "ann", Name: "r"})
				check("RemoveRule", err)
				_, err = n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Actor: "ann", Ttl: durationpb.New(time.Minute)})
				check("GrantLease", err)
				_, err = n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{Actor: "ann", LeaseId: "l"})
				check("RevokeLease", err)
				_, err = n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{Actor: "ann", Name: "r"})
				check("DeleteRole", err)

				streaming, end := context.WithCancel(ctx)
				stream := n.openWriteStream(t, streaming)
				streamed := streamedSet(1, "a", serving)
				streamed.GetSet().Actor = "ann"
				sendWrites(t, stream, streamed)
				_, err = stream.Recv()
				check("WriteStream", err)
				end()
			}
		}
	})
}

// TestATokenThatProvesNothingIsRefusedEverywhere: no call with one is taken for that of an anonymous caller.
func TestATokenThatProvesNothingIsRefusedEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		refused := want{codes.Unauthenticated, rpcerror.ReasonTokenUnknown, rpcerror.WrittenNo, nil, "is not one that this node knows"}
		ctx := with(timeout(t, time.Hour), accesstoken.New())
		for name, call := range map[string]func() error{
			"SetServingStatus": func() error { _, err := n.admin().SetServingStatus(ctx, setRequest("a", serving)); return err },
			"BatchSetServingStatus": func() error {
				_, err := n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{})
				return err
			},
			"DeleteService": func() error {
				_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{})
				return err
			},
			"SetOverride":   func() error { _, err := n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{}); return err },
			"ClearOverride": func() error { _, err := n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{}); return err },
			"SetRule":       func() error { _, err := n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{}); return err },
			"RemoveRule":    func() error { _, err := n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{}); return err },
			"GrantLease":    func() error { _, err := n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{}); return err },
			"RevokeLease":   func() error { _, err := n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{}); return err },
			"ReleaseLeaseGuard": func() error {
				_, err := n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{})
				return err
			},
			"WriteStream": func() error {
				s, err := n.admin().WriteStream(ctx)
				if err == nil {
					_, err = s.Recv()
				}
				return err
			},
			"KeepAlive": func() error {
				s, err := n.admin().KeepAlive(ctx)
				if err == nil {
					_, err = s.Recv()
				}
				return err
			},
			"WhoAmI": func() error { _, err := n.accessClient().WhoAmI(ctx, &rollcallv1.WhoAmIRequest{}); return err },
			"CheckAccess": func() error {
				_, err := n.accessClient().CheckAccess(ctx, &rollcallv1.CheckAccessRequest{})
				return err
			},
			"GetAuth": func() error { _, err := n.accessClient().GetAuth(ctx, &rollcallv1.GetAuthRequest{}); return err },
			"SetAuth": func() error { _, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{}); return err },
			"CreateToken": func() error {
				_, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{})
				return err
			},
			"RevokeToken": func() error {
				_, err := n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{})
				return err
			},
			"ListTokens": func() error { _, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{}); return err },
			"PutRole":    func() error { _, err := n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{}); return err },
			"DeleteRole": func() error { _, err := n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{}); return err },
			"ListRoles":  func() error { _, err := n.accessClient().ListRoles(ctx, &rollcallv1.ListRolesRequest{}); return err },
			"PutGrants":  func() error { _, err := n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{}); return err },
			"ListGrants": func() error { _, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{}); return err },
		} {
			t.Log(name)
			checkError(t, call(), refused)
		}
		if got := n.agreement.count(); got != 0 {
			t.Errorf("%d commands were proposed", got)
		}
		if got := n.Callers().Failures()["token_unknown"]; got != 24 {
			t.Errorf("%d failures are counted, want one for each call", got)
		}
	})
}

// TestStreamsOfChangesEnd: with the next message after their caller may not go on.
func TestStreamsOfChangesEnd(t *testing.T) {
	reporter := access.New(access.Grant{Verbs: access.Report, Pattern: "a/*"})
	for _, tt := range []struct {
		name   string
		change func(n *testNode, token accesstoken.Token)
		want   want
	}{
		{"revoked", func(n *testNode, token accesstoken.Token) { n.removeToken(token) },
			want{codes.Unauthenticated, rpcerror.ReasonTokenRevoked, rpcerror.WrittenNo, map[string]string{rpcerror.MetaIdentity: "token:ci"}, "token:ci"}},
		{"expired", func(n *testNode, _ accesstoken.Token) { n.now = n.now.Add(time.Hour) },
			want{codes.Unauthenticated, rpcerror.ReasonTokenExpired, rpcerror.WrittenNo, nil, "expired at"}},
		{"not granted any more", func(n *testNode, _ accesstoken.Token) {
			n.access.change(func(r *fakeRights) { delete(r.grants, "token:ci") })
		}, want{codes.PermissionDenied, rpcerror.ReasonDenied, rpcerror.WrittenNo, map[string]string{rpcerror.MetaIdentity: "token:ci", rpcerror.MetaVerb: "report"}, "token:ci"}},
		{"denied", func(n *testNode, _ accesstoken.Token) {
			n.access.change(func(r *fakeRights) { r.denied["token:ci"] = true })
		}, want{codes.PermissionDenied, rpcerror.ReasonDenied, rpcerror.WrittenNo, nil, "token:ci"}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			n := single(t)
			token := accesstoken.New()
			n.addToken("ci", token, n.now.Add(time.Minute).UnixNano())
			n.access.change(func(r *fakeRights) { r.enforced = true; r.grants["token:ci"] = reporter })
			ctx := with(timeout(t, time.Hour), token)
			writes := n.openWriteStream(t, ctx)
			sendWrites(t, writes, streamedSet(1, "a/b", serving))
			if res, err := writes.Recv(); err != nil || len(res.GetResults()) != 1 {
				t.Fatal(res, err)
			}
			renewals, err := n.admin().KeepAlive(ctx)
			if err != nil {
				t.Fatal(err)
			}
			renew := &rollcallv1.KeepAliveRequest{}
			if err := renewals.Send(renew); err != nil {
				t.Fatal(err)
			}
			if _, err := renewals.Recv(); err != nil {
				t.Fatal(err)
			}

			tt.change(n, token)
			proposed := n.agreement.count()
			_ = writes.Send(&rollcallv1.WriteStreamRequest{Writes: []*rollcallv1.StreamedWrite{streamedSet(2, "a/b", serving)}})
			_, err = writes.Recv()
			checkError(t, err, tt.want)
			if got := n.agreement.count(); got != proposed {
				t.Errorf("%d writes were proposed after it", got-proposed)
			}
			_ = renewals.Send(renew)
			_, err = renewals.Recv()
			checkError(t, err, tt.want)

			if s, err := n.admin().WriteStream(ctx); err == nil {
				_, err = s.Recv()
				checkError(t, err, tt.want)
			}
			if s, err := n.admin().KeepAlive(ctx); err == nil {
				_, err = s.Recv()
				checkError(t, err, tt.want)
			}
		})
	}
}

// TestStreamsOfChangesThatSendNothingEnd: within a second, too.
func TestStreamsOfChangesThatSendNothingEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		token := accesstoken.New()
		n.addToken("ci", token, 0)
		ctx := with(timeout(t, time.Hour), token)
		writes := n.openWriteStream(t, ctx)
		renewals, err := n.admin().KeepAlive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		n.removeToken(token)
		revoked := want{codes.Unauthenticated, rpcerror.ReasonTokenRevoked, rpcerror.WrittenNo, nil, "token:ci"}
		_, err = writes.Recv()
		checkError(t, err, revoked)
		_, err = renewals.Recv()
		checkError(t, err, revoked)
		if took := time.Since(began); took > time.Second {
			t.Errorf("they ended after %v", took)
		}
	})
}

// TestLeasesOfOthersAreNotRenewed: they are lost to who asks, over both streams.
func TestLeasesOfOthersAreNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		token := accesstoken.New()
		n.addToken("ci", token, 0)
		n.leases.put(time.Minute, "own", "others", "nobodys", "foreign", "equals", "lack")
		for id, owner := range map[string]string{"own": "token:ci", "others": "cert:b", "foreign": "cert:b", "equals": "cert:b"} {
			n.leases.leases[id].Actor = &logv1.Actor{Name: owner, Verified: true}
		}
		n.leases.leases["nobodys"].Actor = &logv1.Actor{Name: "cert:b"}
		n.leases.attached = map[string][]string{"own": {"b/x"}, "foreign": {"a/x", "b/x"}, "equals": {"a/x"}, "lack": {"b/x"}}
		ids := []string{"own", "others", "nobodys", "foreign", "equals", "lack", "unheard"}
		ctx := with(timeout(t, time.Hour), token)
		renew := func(what string, wantLost ...string) {
			t.Helper()
			s, err := n.admin().KeepAlive(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids})
			res, err := s.Recv()
			if err != nil || !slices.Equal(res.GetLostLeaseIds(), wantLost) || len(res.GetRenewedLeaseIds()) != len(ids)-len(wantLost) {
				t.Errorf("%s: %v, %v; want lost %v", what, res, err, wantLost)
			}
			w := n.openWriteStream(t, ctx)
			sendWrites(t, w, &rollcallv1.StreamedWrite{Id: 1, Write: &rollcallv1.StreamedWrite_KeepAlive{KeepAlive: &rollcallv1.KeepAliveRequest{LeaseIds: ids}}})
			answers, err := w.Recv()
			if err != nil || !slices.Equal(answers.GetResults()[0].GetKeepAlive().GetLostLeaseIds(), wantLost) {
				t.Errorf("%s, by WriteStream: %v, %v; want lost %v", what, answers, err, wantLost)
			}
		}
		renew("not enforced")
		n.access.change(func(r *fakeRights) {
			r.enforced = true
			r.grants["token:ci"] = access.New(access.Grant{Verbs: access.Report, Pattern: "a/*"})
		})
		renew("a reporter of a part", "others", "foreign", "equals")
		// Another token of the same name is the same identity.
		another := accesstoken.New()
		n.removeToken(token)
		n.addToken("ci", another, 0)
		ctx = with(timeout(t, time.Hour), another)
		renew("with another token", "others", "foreign", "equals")
		n.access.change(func(r *fakeRights) {
			r.grants["token:ci"] = access.New(access.Grant{Verbs: access.Report, Pattern: "*"})
		})
		renew("a reporter of everything")
	})
}

// TestWritesThatNameALeaseOfAnother: the refusal names the lease, over SetServingStatus, WriteStream and RevokeLease.
func TestWritesThatNameALeaseOfAnother(t *testing.T) {
	n := single(t)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	const id = "0000000000000001"
	n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
		if a := cmd.GetActor(); a.GetName() != "token:ci" || !a.GetVerified() {
			t.Errorf("the actor is %v", a)
		}
		return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_LEASE, Key: id, Given: "token:ci", Limit: int64(access.Report), Held: "*"}}, nil
	})
	ctx := with(patient(t), token)
	check := func(err error) {
		t.Helper()
		meta := map[string]string{rpcerror.MetaLease: id, rpcerror.MetaIdentity: "token:ci", rpcerror.MetaVerb: "report", rpcerror.MetaName: "*"}
		checkError(t, err, want{codes.PermissionDenied, rpcerror.ReasonDenied, rpcerror.WrittenNo, meta, "token:ci did not grant lease"})
	}
	set := streamedSet(1, "a", serving)
	set.GetSet().LeaseId = id
	_, err := n.admin().SetServingStatus(ctx, set.GetSet())
	check(err)
	_, err = n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: id})
	check(err)
	stream := n.openWriteStream(t, ctx)
	sendWrites(t, stream, set)
	check(errorIn(answersOf(t, stream, 1)[1]))
}

// TestFailedLoginsHoldLittle: what strangers send as their requests is not more than what clients may hold.
func TestFailedLoginsHoldLittle(t *testing.T) {
	if held := int64(authn.MaxWaiting * maxRequestBytes); held > MinClientMemory {
		t.Errorf("failed calls that wait for their answer can hold %d MiB", held>>20)
	}
}

// TestForgedActors: a leader refuses what no node says of a caller.
func TestForgedActors(t *testing.T) {
	write := &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{{Service: "a", Status: logv1.Status_STATUS_SERVING}}}}
	for _, tt := range []struct {
		actor *logv1.Actor
		want  string // "": it is believed
	}{
		{nil, ""},
		{&logv1.Actor{}, ""},
		{&logv1.Actor{Name: "ann", Peer: "a:1"}, ""},
		{&logv1.Actor{Name: "static:root"}, ""}, // a name that an anonymous caller chose
		{&logv1.Actor{Name: "cert:web", Verified: true, OnBehalfOf: "ann"}, ""},
		{&logv1.Actor{Name: "token:ci", Verified: true, Credential: "0123456789abcdef"}, ""},
		{&logv1.Actor{Name: "static:root", Verified: true, StaticAdmin: true}, ""},
		{&logv1.Actor{Name: "static:root", StaticAdmin: true}, "proved no identity"},
		{&logv1.Actor{Name: "ann", Credential: "0123456789abcdef"}, "proved no identity"},
		{&logv1.Actor{Name: "ann", OnBehalfOf: "bob"}, "proved no identity"},
		{&logv1.Actor{Name: "cert:web", Verified: true, StaticAdmin: true}, "says otherwise"},
		{&logv1.Actor{Name: "static:root", Verified: true}, "says otherwise"},
		{&logv1.Actor{Name: "token:ci", Verified: true}, "does not say of which token"},
		{&logv1.Actor{Name: "anonymous", Verified: true}, "no identity that callers prove"},
		{&logv1.Actor{Name: "node:n1", Verified: true}, "no identity that callers prove"},
		{&logv1.Actor{Name: "node n1", Verified: true}, "no identity that callers prove"},
		{&logv1.Actor{Name: "ann", Verified: true}, "no identity that callers prove"},
		{&logv1.Actor{Verified: true}, "no identity that callers prove"},
	} {
		err := validateForwarded("n2", &logv1.Command{Actor: tt.actor, Kind: write})
		var f *rpcerror.Failure
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%v: %v", tt.actor, err)
		case tt.want == "":
		case !errors.As(err, &f) || !strings.Contains(f.Message, tt.want) || f.Meta[rpcerror.MetaWritten] != rpcerror.WrittenNo:
			t.Errorf("%v: %v, want %q", tt.actor, err, tt.want)
		}
	}
	announce := &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n2"}}}
	if err := validateForwarded("n2", &logv1.Command{Actor: &logv1.Actor{Name: "node n2", Verified: true}, Kind: announce}); err != nil {
		t.Errorf("a node on its own account: %v", err)
	}
}
