package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
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

// TestAccessBecomesCommands: each request is a command of its kind, and its answer says what became of it.
func TestAccessBecomesCommands(t *testing.T) {
	n := single(t, func(c *Config) { c.LoopbackOnly = true })
	ctx := patient(t)
	sum := accesstoken.New().SHA256()
	grants := []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay"}}}
	logGrants := []*logv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay"}}}
	check := func(kind logv1.Kind, p payload) {
		t.Helper()
		want := &logv1.Command{Actor: &logv1.Actor{Name: "ann"}, Reason: "why", RequestId: "id", Kind: recordCommand(kind, p)}
		if got := n.lastCommand(); !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	equal := func(got, want proto.Message, err error) {
		t.Helper()
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("got  %v, %v\nwant %v", got, err, want)
		}
	}

	token, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{
		Name: "ci", Grants: grants, Ttl: durationpb.New(time.Hour), Description: "CI", SecretSha256: sum[:], Reason: "why", Actor: "ann", RequestId: "id",
	})
	equal(token, &rollcallv1.CreateTokenResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Token: &rollcallv1.Token{
		Name: "ci", Id: accesstoken.ID(sum), Description: "CI", Grants: grants, Revision: 8, Time: convert.Timestamp(5), ExpireTime: convert.Timestamp(int64(time.Hour)),
	}}, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Create{Create: &logv1.CreateToken{
		Name: "ci", Grants: logGrants, Ttl: int64(time.Hour), Description: "CI", SecretSha256: sum[:],
	}}})

	revoked, err := n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Name: "ci", AllowMissing: true, Reason: "why", Actor: "ann", RequestId: "id"})
	equal(revoked, &rollcallv1.RevokeTokenResponse{Revision: 9, ClusterId: "3f9a"}, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Name: "ci", AllowMissing: true}}})
	_, err = n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Id: accesstoken.ID(sum), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(nil, nil, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Id: accesstoken.ID(sum)}}})

	role, err := n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: "night", Verbs: []string{"override", "read", "read"}, IfRevision: proto.Int64(0), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(role, &rollcallv1.PutRoleResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Role: &rollcallv1.AccessRole{Name: "night", Verbs: []string{"read", "override"}, Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Put{Put: &logv1.PutRole{Name: "night", Verbs: uint32(access.Read | access.Override), IfRevision: proto.Int64(0)}}})
	deleted, err := n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{Name: "night", IfRevision: proto.Int64(8), AllowMissing: true, Reason: "why", Actor: "ann", RequestId: "id"})
	equal(deleted, &rollcallv1.DeleteRoleResponse{Revision: 9, ClusterId: "3f9a"}, err)
	check(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Delete{Delete: &logv1.DeleteRole{Name: "night", IfRevision: proto.Int64(8), AllowMissing: true}}})

	put, err := n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web", Grants: grants, Denied: true, IfRevision: proto.Int64(3), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web", Grants: grants, Denied: true, Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "cert:web", Grants: logGrants, Denied: true, IfRevision: proto.Int64(3)})
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web"})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web"}}, err)
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:none"})
	equal(put, &rollcallv1.PutGrantsResponse{Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:none"}}, err)

	auth, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: "viewer", IfRevision: proto.Int64(0), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(auth, &rollcallv1.SetAuthResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Auth: &rollcallv1.Auth{Enforced: true, Anonymous: "viewer", Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_AUTH, &logv1.SetAuth{Enforced: true, Anonymous: "viewer", IfRevision: proto.Int64(0)})

	// What does not change says so, and a dry run has neither revision nor time.
	same, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{Name: "same", Grants: grants, SecretSha256: sum[:]})
	if err != nil || same.GetChanged() || same.GetToken().GetRevision() != 8 || len(same.GetToken().GetGrants()) != 0 {
		t.Errorf("the same token once more: %v, %v", same, err)
	}
	proposed := n.agreement.count()
	dry, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{Name: "ci", Grants: grants, SecretSha256: sum[:], Ttl: durationpb.New(time.Hour), ValidateOnly: true})
	equal(dry, &rollcallv1.CreateTokenResponse{Changed: true, ClusterId: "3f9a", Token: &rollcallv1.Token{Name: "ci", Id: accesstoken.ID(sum), Grants: grants, ExpireTime: convert.Timestamp(int64(time.Hour))}}, err)
	role, err = n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: "night", Verbs: []string{"read"}, ValidateOnly: true})
	equal(role, &rollcallv1.PutRoleResponse{Changed: true, ClusterId: "3f9a", Role: &rollcallv1.AccessRole{Name: "night", Verbs: []string{"read"}}}, err)
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web", Denied: true, ValidateOnly: true})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web", Denied: true}}, err)
	auth, err = n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Enforced: true, ValidateOnly: true})
	equal(auth, &rollcallv1.SetAuthResponse{Changed: true, ClusterId: "3f9a", Auth: &rollcallv1.Auth{Enforced: true}}, err)
	if got := n.agreement.count(); got != proposed {
		t.Errorf("dry runs proposed %d commands", got-proposed)
	}
}

func TestRefusedRequestsOfAccess(t *testing.T) {
	n := single(t, func(c *Config) { c.LoopbackOnly = true })
	ctx := patient(t)
	sum := bytes.Repeat([]byte{1}, 32)
	grant := func(role string, patterns ...string) []*rollcallv1.Grant {
		return []*rollcallv1.Grant{{Role: role, Patterns: patterns}}
	}
	token := func(name string, change func(r *rollcallv1.CreateTokenRequest)) func() error {
		return func() error {
			r := &rollcallv1.CreateTokenRequest{Name: name, SecretSha256: sum}
			if change != nil {
				change(r)
			}
			_, err := n.accessClient().CreateToken(ctx, r)
			return err
		}
	}
	revoke := func(name, id string) func() error {
		return func() error {
			_, err := n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Name: name, Id: id})
			return err
		}
	}
	role := func(name string, verbs ...string) func() error {
		return func() error {
			_, err := n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: name, Verbs: verbs})
			return err
		}
	}
	grants := func(identity string, given []*rollcallv1.Grant) func() error {
		return func() error {
			_, err := n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: identity, Grants: given})
			return err
		}
	}
	check := func(verb, service, identity string) func() error {
		return func() error {
			_, err := n.accessClient().CheckAccess(ctx, &rollcallv1.CheckAccessRequest{Verb: verb, Service: service, Identity: identity})
			return err
		}
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("s%d", i)
	}
	for name, tt := range map[string]struct {
		call func() error
		want string
	}{
		"token without a name":            {token("", nil), "name is empty"},
		"token with a space":              {token("a b", nil), "name "},
		"token with a long name":          {token(strings.Repeat("x", 65), nil), "name is 65 bytes long"},
		"token without a hash":            {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = nil }), "secret_sha256 has 0 bytes"},
		"token with half a hash":          {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = sum[:16] }), "secret_sha256 has 16 bytes"},
		"token with its text as hash":     {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = []byte(accesstoken.New().Text()) }), "secret_sha256 has 64 bytes"},
		"token for no time":               {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(0) }), "ttl is 0s; 1s to 87600h (10 years) is allowed"},
		"token for a negative time":       {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(-time.Hour) }), "ttl is -1h"},
		"token for eleven years":          {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(11 * 365 * 24 * time.Hour) }), "ttl is"},
		"token for no duration":           {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = &durationpb.Duration{Nanos: -1, Seconds: 5} }), "ttl is no duration"},
		"token with a long description":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Description = strings.Repeat("x", 257) }), "description is 257 bytes long"},
		"token with two lines":            {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Description = "a\nb" }), "description"},
		"token with a pattern like shop*": {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer", "shop*") }), "grants[0].patterns[0]"},
		"token with a grant of nothing":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer") }), "grants[0].patterns is empty"},
		"token with a grant of no role":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("", "*") }), "grants[0].role is empty"},
		"token with too many patterns":    {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer", many...) }), "grants have 1001 patterns"},
		"token with too many grants": {token("ci", func(r *rollcallv1.CreateTokenRequest) {
			for range 1001 {
				r.Grants = append(r.Grants, &rollcallv1.Grant{})
			}
		}), "grants have 1001 patterns"},
		"token with a long reason":     {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Reason = strings.Repeat("x", 2000) }), "reason is 2000 bytes"},
		"revoke of nothing":            {revoke("", ""), "name and id are both missing"},
		"revoke by both":               {revoke("ci", "0123456789abcdef"), "id is given together with name"},
		"revoke by a short id":         {revoke("", "0123"), "id is \"0123\""},
		"revoke by an upper case id":   {revoke("", "0123456789ABCDEF"), "id is"},
		"revoke by a whole token":      {revoke("", accesstoken.New().Text()), "id is"},
		"revoke of a bad name":         {revoke("a b", ""), "name"},
		"built-in role":                {role("viewer", "read"), "a role of rollcall itself"},
		"role without a name":          {role("", "read"), "name is empty"},
		"role without verbs":           {role("night"), "verbs is empty"},
		"role with an unknown verb":    {role("night", "read", "write"), "verbs[1] is \"write\", which is no verb; the verbs are read, report, override"},
		"role with an upper case verb": {role("night", "Read"), "verbs[0] is \"Read\""},
		"role with very many verbs":    {role("night", strings.Split(strings.Repeat("read ", 1000), " ")...), "verbs has 1001 entries"},
		"grants of nobody":             {grants("", nil), "identity"},
		"grants of a name alone":       {grants("web", nil), "identity"},
		"grants of anonymous callers":  {grants("anonymous", nil), "identity"},
		"grants of a node":             {grants("node:n1", nil), "identity"},
		"grants of a static one":       {grants("static:root", nil), "identity"},
		"grants of a long name":        {grants("cert:"+strings.Repeat("x", 300), nil), "identity is 305 bytes long"},
		"grants of a bad pattern":      {grants("cert:web", grant("viewer", "a", "*b")), "grants[0].patterns[1]"},
		"no verb":                      {check("", "a", ""), "verb is \"\", which is no verb"},
		"an unknown verb":              {check("write", "a", ""), "verb is \"write\""},
		"a bad service":                {check("read", "a\x00b", ""), "service"},
		"a bad pattern":                {check("read", "shop*", ""), "service"},
		"a bad identity":               {check("read", "a", "web"), "identity"},
		"a long identity":              {check("read", "a", "static:"+strings.Repeat("x", 300)), "identity is 307 bytes long"},
		"deleting a built-in role": {func() error {
			_, err := n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{Name: "admin"})
			return err
		}, "a role of rollcall itself"},
		"a negative revision": {func() error {
			_, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{IfRevision: proto.Int64(-1)})
			return err
		}, "if_revision is -1"},
		"an anonymous role that is none": {func() error {
			_, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Anonymous: "a b"})
			return err
		}, "anonymous"},
		"a page of -1": {func() error {
			_, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{PageSize: -1})
			return err
		}, "page_size is -1"},
		"a page token of another list": {func() error {
			_, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{PageToken: grantsPages.encode("3f9a", "cert:a")})
			return err
		}, "page_token is not one that ListTokens returned"},
		"a page token that is none": {func() error {
			_, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{PageToken: strings.Repeat("A", 5000)})
			return err
		}, "page_token is not one that ListGrants returned"},
		"a page token and an identity": {func() error {
			_, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{PageToken: grantsPages.encode("3f9a", "cert:a"), Identity: "cert:a"})
			return err
		}, "page_token is given together with identity"},
	} {
		t.Run(name, func(t *testing.T) {
			written := rpcerror.WrittenNo
			switch {
			case strings.HasPrefix(name, "a page"), strings.HasPrefix(tt.want, "verb is"), strings.HasPrefix(tt.want, "service"), strings.HasPrefix(name, "a bad identity"), strings.HasPrefix(name, "a long identity"):
				written = "" // of a read
			}
			checkError(t, tt.call(), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, written, nil, tt.want})
		})
	}
	if got := n.agreement.count(); got != 0 {
		t.Errorf("%d commands were proposed", got)
	}
}

// TestAccessIsEnforcedOverTLSOnly: elsewhere tokens would be read on the way. It can be switched off everywhere.
func TestAccessIsEnforcedOverTLSOnly(t *testing.T) {
	n := single(t)
	for _, dry := range []bool{false, true} {
		_, err := n.accessClient().SetAuth(patient(t), &rollcallv1.SetAuthRequest{Enforced: true, ValidateOnly: dry})
		checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonTLSRequired, rpcerror.WrittenNo, nil, "--tls permissive or required"})
	}
	if _, err := n.accessClient().SetAuth(patient(t), &rollcallv1.SetAuthRequest{Anonymous: "viewer"}); err != nil {
		t.Errorf("not enforced: %v", err)
	}
}

// TestRefusalsOfTheFold: what the fold says of access reaches the caller.
func TestRefusalsOfTheFold(t *testing.T) {
	for _, tt := range []struct {
		refusal *logv1.Refusal
		want    want
	}{
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Given: "token:ci", Limit: int64(access.Report), Kind: logv1.Kind_KIND_SERVICE, Key: "a", Held: "a"},
			want{codes.PermissionDenied, rpcerror.ReasonDenied, rpcerror.WrittenNo, map[string]string{"identity": "token:ci", "verb": "report", "name": "a"}, "token:ci"}},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_REVOKED, Given: "token:ci"},
			want{codes.Unauthenticated, rpcerror.ReasonTokenRevoked, rpcerror.WrittenNo, map[string]string{"identity": "token:ci"}, "token:ci"}},
	} {
		n := single(t)
		n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return &logv1.Result{Refusal: tt.refusal}, nil
		})
		_, err := n.admin().SetServingStatus(patient(t), setRequest("a", serving))
		checkError(t, err, tt.want)
		stream := n.openWriteStream(t, patient(t))
		sendWrites(t, stream, streamedSet(1, "a", serving))
		res, err := stream.Recv()
		if got := n.Denials()["report"]; (tt.want.reason == rpcerror.ReasonDenied) != (got == 2) {
			t.Errorf("%s: %d denials are counted", tt.want.reason, got)
		}
		if err != nil || codes.Code(res.GetResults()[0].GetError().GetCode()) != tt.want.code {
			t.Errorf("streamed: %v, %v", res, err)
		}
		_ = stream.CloseSend()
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// TestListsOfAccessAreFiltered: who has the verb auth over a part is told that it is not shown all.
func TestListsOfAccessAreFiltered(t *testing.T) {
	n := single(t)
	boss, clerk := accesstoken.New(), accesstoken.New()
	n.addToken("boss", boss, 0)
	n.addToken("clerk", clerk, 0)
	n.addToken("shop", accesstoken.New(), 0)
	n.access.change(func(r *fakeRights) {
		r.enforced = true
		r.grants["token:boss"] = access.New(access.Grant{Verbs: access.All, Pattern: "*"})
		r.grants["token:clerk"] = access.New(access.Grant{Verbs: access.Auth, Pattern: "shop/*"})
		r.grants["cert:shop"] = access.New(access.Grant{Verbs: access.Read, Pattern: "shop/*"})
	})
	for _, tt := range []struct {
		who                          string
		token                        accesstoken.Token
		tokens, grants, boss, itself int
		filtered                     bool
	}{
		{"boss", boss, 3, 3, 1, 1, false},
		{"clerk", clerk, 1, 1, 0, 1, true},
	} {
		ctx := with(patient(t), tt.token)
		var header metadata.MD
		check := func(what string, got, want int, err error, filtered bool) {
			t.Helper()
			if said := len(header.Get(authz.MetadataFiltered)) > 0; err != nil || got != want || said != filtered {
				t.Errorf("%s, to %s: %d, %v, filtered %v; want %d, filtered %v", what, tt.who, got, err, said, want, filtered)
			}
			header = nil
		}
		tokens, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{}, grpc.Header(&header))
		check("tokens", len(tokens.GetTokens()), tt.tokens, err, tt.filtered)
		grants := func(what, identity string, want int, filtered bool) {
			t.Helper()
			list, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{Identity: identity}, grpc.Header(&header))
			check(what, len(list.GetGrants()), want, err, filtered)
		}
		grants("grants", "", tt.grants, tt.filtered)
		grants("the grants of one", "token:boss", tt.boss, tt.filtered)
		grants("its own grants", "token:"+tt.who, tt.itself, false)
		_, err = n.accessClient().ListRoles(ctx, &rollcallv1.ListRolesRequest{}, grpc.Header(&header))
		check("roles", 0, 0, err, false)
	}
}
