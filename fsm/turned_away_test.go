package fsm

import (
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

type clockAt int64

func (c clockAt) LogClock() int64 { return int64(c) }

// TestTurnedAwayAsTheFoldRefuses: whoever is turned away before the log is told what the fold would say, and nobody is
// whom the fold would let.
func TestTurnedAwayAsTheFoldRefuses(t *testing.T) {
	const hour = int64(3600e9)
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
	now := hour
	must := func(cmd *logv1.Command) {
		t.Helper()
		if h.TurnAway(cmd, clockAt(now)) != nil {
			t.Errorf("%v is turned away", cmd)
		}
		if r := h.do(t, now, cmd)[0]; r.GetRefusal() != nil {
			t.Fatalf("%v: %v", cmd, r.GetRefusal())
		}
	}
	try := func(what string, cmd *logv1.Command, turnedAway bool) {
		t.Helper()
		early := h.TurnAway(cmd, clockAt(now))
		if (early != nil) != turnedAway {
			t.Errorf("%s: it is turned away: %v, want %v", what, early != nil, turnedAway)
		}
		revision, index := h.Revision(), h.AppliedIndex()
		late := h.do(t, now, cmd)[0]
		if early == nil {
			return
		}
		p := early.Proto()
		if p.GetRevision() != revision || p.GetIndex() != index {
			t.Errorf("%s: the answer is of revision %d and index %d, want %d and %d", what, p.GetRevision(), p.GetIndex(), revision, index)
		}
		p.Index = late.GetIndex()
		if !proto.Equal(p, late) {
			t.Errorf("%s: the answer is\n%v, that of the fold\n%v", what, p, late)
		}
	}
	root, ci, ops := "cert:root", "token:ci", "cert:ops"
	serving := logv1.Status_STATUS_SERVING
	named := func(id string, cmd *logv1.Command) *logv1.Command {
		cmd = proto.CloneOf(cmd)
		cmd.RequestId = id
		return cmd
	}
	must(termStartWith(100, 100*hour))
	must(by("", putGrants(root, grantOver("admin", "*"))))
	must(by(root, putGrants(ops, grantOver("operator", "shop/*"))))
	must(by(root, createToken(&logv1.CreateToken{Name: "ci", SecretSha256: secret("ci"), Ttl: 2 * hour, Grants: []*logv1.Grant{grantOver("reporter", "shop/*")}})))
	must(named("before", by("cert:x", write(change("pay/a", serving)))))
	try("while access is not enforced nobody", by("token:gone", write(change("shop/a", serving))), false)
	must(by(root, setAuth(true, "viewer")))
	must(named("first", by(ci, write(change("shop/a", serving)))))

	try("a stranger", by("", write(change("shop/a", serving))), true)
	try("a stranger with a request id", named("s", by("", write(change("shop/a", serving)))), true)
	try("a batch", by(ci, write(change("shop/a", serving), change("pay/a", serving))), true)
	try("what is malformed is told so", by("", write(change("a", serving), change("a", serving))), true)
	try("a static administrator", by("static", write(change("pay/b", serving))), false)
	try("an unverified one", &logv1.Command{Actor: &logv1.Actor{Name: "static:n1", StaticAdmin: true}, Kind: write(change("a", serving)).Kind}, true)
	try("an override", by(ci, over("shop/*", serving)), true)
	try("a rule", by(ci, atLeast("r", "shop/*", 1)), true)
	try("a member", by(ops, addMember(joiner("n1", "d1"))), true)
	try("a member of a name that is none", by(ops, removeMember("N 1")), true)
	try("an administrator's member", by(root, addMember(joiner("n1", "d1"))), false)
	try("and his mistake", by(root, addMember(joiner("n1", "d1"))), false)
	try("a lease", by("cert:x", grantOf(leaseID(1))), true)
	try("a token", by(ci, tokenWith("x", grantOver("viewer", "*"))), true)
	try("a token of a role that does not exist", by(ci, tokenWith("x", grantOver("ghost", "*"))), true)
	try("grants", by(ops, putGrants("cert:y", grantOver("viewer", "*"))), true)
	try("a role", by("", putRole("r", 1)), true)
	try("the end of it", by("", setAuth(false, "")), true)
	try("an anonymous role that does not exist", by("", setAuth(true, "ghost")), true)
	try("an administrator's mistake is for the fold", by(root, setAuth(true, "ghost")), false)
	try("his lockout, too", by(root, putGrants(root)), false)
	try("a revision that is another one", by(ci, write(&logv1.Change{Service: "shop/a", Status: serving, IfRevision: proto.Int64(1)})), false)
	try("nodes go on", &logv1.Command{Actor: &logv1.Actor{Name: "node n1", Verified: true}, Kind: &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: 1}}}, false)
	try("what was answered before is answered again", named("before", by("cert:x", write(change("pay/a", serving)))), false)
	try("nothing else is", named("other", by("cert:x", write(change("pay/a", serving)))), true)

	must(by(root, deny(ops)))
	try("who is denied", by(ops, over("shop/*", serving)), true)
	now += 3 * hour
	try("a token that has expired by the clock", by(ci, write(change("shop/a", serving))), true)
	must(by(root, revokeToken("ci")))
	try("one that was revoked", by(ci, write(change("shop/a", serving))), true)
}
