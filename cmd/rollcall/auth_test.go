package main

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestAuthEnableAndDisable(t *testing.T) {
	f, run := shop(t)
	run("auth", "status").want(t, 0, "access is not enforced: everybody may do everything; \"rollcall auth enable\" enforces it\n", "")
	run("auth", "enable", "--dry-run").want(t, 0, "access is enforced; anonymous callers have the role viewer; dry run, nothing changed\n", "")
	run("auth", "enable", "--reason", "all have tokens").want(t, 0, "access is enforced; anonymous callers have the role viewer; revision 5\n", "")
	run("auth", "enable").want(t, 0, "access is enforced; anonymous callers have the role viewer; already since revision 5; nothing changed\n", "")
	run("auth", "status").want(t, 0, "access is enforced; anonymous callers have the role viewer\nset 2026-11-22 10:00:00.000 (3m ago) by token:admin for ann, revision 5: all have tokens\n", "")
	run("auth", "enable", "--anonymous", "none").want(t, 0, "access is enforced; anonymous callers may do nothing; revision 6\n! probes of the API ports that show no token and no certificate fail then; the ports of --health-listen stay open\n", "")
	// What anonymous callers may do stays as it was set.
	run("auth", "disable", "--reason", "drill").want(t, 0, "access is not enforced: everybody may do everything; revision 7\n", "")
	run("auth", "enable").want(t, 0, "access is enforced; anonymous callers may do nothing; revision 8\n! probes of the API ports that show no token and no certificate fail then; the ports of --health-listen stay open\n", "")
	run("auth", "enable", "--anonymous", "a b").want(t, 1, "", "rollcall: --anonymous: role name …")
	run("auth", "enable", "--if-revision", "7").want(t, 1, "", "rollcall: cannot enforce access: its revision is 8, and --if-revision asks for another; look at it again before you repeat that\n")
	run("events", "--type", "access-changed", "--limit", "1").want(t, 0, ""+
		"REVISION  TIME                     SERVICE  FROM→TO                                                     ACTOR                REASON\n"+
		"5         2026-11-22 10:05:00.000  -        access is enforced; anonymous callers have the role viewer  token:admin for ann  all have tokens\n", "")
	for _, req := range f.access.asked {
		if r := req.(*rollcallv1.SetAuthRequest); r.IfRevision == nil {
			t.Errorf("no condition: %v", r)
		}
	}
}

// Two administrators change at the same time: what the second one does is what it sees then.
func TestAuthIsChangedAsItIsThen(t *testing.T) {
	f, run := shop(t)
	other := func() {
		f.revision++
		f.access.auth = &rollcallv1.Auth{Enforced: true, Anonymous: "reporter", Revision: f.revision}
	}
	f.access.before = other
	run("auth", "disable").want(t, 0, "access is not enforced: everybody may do everything; revision 6\n", "")
	if a := f.access.auth; a.GetAnonymous() != "reporter" {
		t.Errorf("the role of anonymous callers was lost: %v", a)
	}
	// With an id, which stands for one request, nothing is tried anew.
	f.access.before = other
	run("auth", "disable", "--request-id", "r1").want(t, 1, "", "rollcall: cannot enforce access no longer: its revision is 7, and --if-revision asks for another; look at it again before you repeat that\n")
}

func TestAuthCan(t *testing.T) {
	f, run := shop(t)
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "shop/*").want(t, 0, "…", "")
	const open = "access is not enforced, so everybody may; "
	run("auth", "can", "report", "shop/cart", "--identity", "cert:shop").want(t, 0, "yes: "+open+"the grants say so, too: its grant reporter on shop/*\n", "")
	run("auth", "can", "report", "pay", "--identity", "cert:shop").want(t, 0, "yes: "+open+"the grants would not allow it: no grant of cert:shop allows it\n", "")
	run("auth", "can", "report", "pay", "--identity", "cert:shop", "--when-enforced").want(t, 4, "no: no grant of cert:shop allows it\n", "rollcall: cert:shop may not report pay\n")
	f.access.auth = &rollcallv1.Auth{Enforced: true, Revision: 6}
	run("auth", "can", "report", "shop/cart", "--identity", "cert:shop").want(t, 0, "yes: its grant reporter on shop/*\n", "")
	run("auth", "can", "report", "shop/*", "--identity", "cert:shop").want(t, 0, "yes: its grant reporter on shop/*\n", "")
	run("auth", "can", "report", "*", "--identity", "cert:shop").want(t, 4, "no: no grant of cert:shop allows it\n", "rollcall: cert:shop may not report everything\n")
	run("auth", "can", "report", "pay", "--identity", "cert:shop", "-o", "json").want(t, 4, `{
  "may": false,
  "verb": "report",
  "name": "pay",
  "identity": "cert:shop",
  "why": "no grant of cert:shop allows it",
  "allowed": false,
  "enforced": true,
  "revision": 5,
  "cluster_id": "3f9a"
}
`, `{"code":"FAILED_PRECONDITION","reason":"NOT_AS_ASKED","message":"cert:shop may not report pay","written":"no","request_id":""}`+"\n")
	for verb, does := range map[string]string{"status": "see the state of the cluster", "cluster": "change the cluster", "backup": "save snapshots"} {
		run("auth", "can", verb).want(t, 4, "…", "rollcall: this caller may not "+does+"\n")
		run("auth", "can", verb, "*").want(t, 4, "…", "…")
		run("auth", "can", verb, "shop/cart").want(t, 1, "", "rollcall: the verb "+verb+" is about the cluster as a whole, and not about shop/cart; leave NAME out\n")
	}
	run("auth", "can", "auth", "shop/*").want(t, 4, "…", "rollcall: this caller may not give access to shop/*\n")
	run("auth", "can", "rules", "shop/*").want(t, 4, "…", "rollcall: this caller may not set rules over shop/*\n")
	run("auth", "can", "write", "a").want(t, 1, "", "rollcall: \"write\" is no verb; use read, report, override, rules, auth, status, cluster or backup\n")
	run("auth", "can", "read").want(t, 1, "", "rollcall: NAME is missing: a service, or a pattern; '*' stands for all services\n")
	run("auth", "can", "read", "a", "b").want(t, 1, "", "rollcall: \"b\" is one argument too many: quote a pattern, as 'shop/*', or the shell takes it for names of files; …")
	run("auth", "can", "read", "a", "--identity", "ann").want(t, 1, "", "rollcall: identity \"ann\" is no identity; one is \"cert:\" and the name in a certificate, or \"token:\" and the name of a token\n")
	run("auth", "can", "read", "a", "--identity", "anonymous").want(t, 4, "…", "rollcall: anonymous may not read a\n")
}

func TestWhoAmI(t *testing.T) {
	f, run := shop(t)
	run("whoami").want(t, 0, ""+
		"IDENTITY  anonymous\n"+
		"BY        nothing: no token and no certificate\n"+
		"MAY       everything: access is not enforced\n"+
		"ENFORCED  no\n"+
		"CLUSTER   3f9a, revision 0\n", "")
	f.access.me = &rollcallv1.WhoAmIResponse{
		Identity: "token:ci", How: "a token", Enforced: true, ClusterId: "3f9a", Revision: 7, Expires: timestamppb.New(clock().Add(48 * 3600e9)),
		Grants: []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay"}}, {Role: "viewer", Patterns: []string{"*"}}},
	}
	run("whoami").want(t, 0, ""+
		"IDENTITY  token:ci\n"+
		"BY        a token\n"+
		"MAY       reporter on shop/* and pay, viewer on *\n"+
		"EXPIRES   2026-11-24 10:03, in 2d\n"+
		"ENFORCED  yes\n"+
		"CLUSTER   3f9a, revision 7\n", "")
	run("whoami", "-o", "name").want(t, 0, "token:ci\n", "")
	f.access.me.Denied = true
	run("whoami").want(t, 0, "IDENTITY  token:ci\nBY        a token\nMAY       nothing: it is denied everything\n…", "")
}

// Each refusal says what to do.
func TestWhatToDoAboutARefusal(t *testing.T) {
	f, run := shop(t)
	const denied = `denied: token:ci lacks the verb report over "shop/cart"; an administrator can allow it with: rollcall grant add token:ci --role reporter --on shop/cart`
	for _, test := range []struct {
		code                  codes.Code
		reason, message, want string
	}{
		{codes.PermissionDenied, "DENIED", denied, denied},
		{codes.PermissionDenied, "ESCALATION", "not written: token:ci lacks the verb report over everything, and nobody gives or takes away what he may not do himself",
			`not written: token:ci lacks the verb report over everything, and nobody gives or takes away what he may not do himself; "rollcall whoami" shows what you may do; ask somebody who may do more`},
		{codes.Unauthenticated, "NO_CREDENTIALS", "show a token (--token-file)", "show a token (--token-file)"},
		{codes.Unauthenticated, "NO_CREDENTIALS", "no", "no; say who you are with --token-file, or with --cert and --key"},
		{codes.Unauthenticated, "TOKEN_UNKNOWN", "no such token", `no such token; it was revoked, or is of another cluster; "rollcall token list" shows the tokens of this one to administrators`},
		{codes.Unauthenticated, "TOKEN_REVOKED", "the token of token:ci was revoked", `the token of token:ci was revoked; an administrator makes another one with "rollcall token create"`},
		{codes.Unauthenticated, "TOKEN_EXPIRED", "the token of token:ci expired", `the token of token:ci expired; an administrator makes another one with "rollcall token create"`},
		{codes.Unauthenticated, "TOKEN_DAMAGED", "it is no token", "it is no token; get the token again from who made it: it is one line that begins with rct_"},
		{codes.Unauthenticated, "TOKEN_OVER_PLAIN_TEXT", "over plain text", "over plain text; connect with TLS: name the file of the CA of the nodes with --ca"},
		{codes.FailedPrecondition, "AUTH_LOCKOUT", "not written: you could not undo it", "not written: you could not undo it"},
		{codes.FailedPrecondition, "TLS_REQUIRED", "this node has no TLS", `this node has no TLS; start the nodes with --tls: see "rollcall serve --help"`},
	} {
		f.refuseWrites(refusal(test.code, test.reason, test.message, map[string]string{"written": "no"}))
		run("set", "shop/cart", "serving", "--request-id", "r1").want(t, 1, "", "rollcall: cannot set shop/cart: "+test.want+"\n")
		r := run("auth", "enable", "-o", "json")
		r.want(t, 1, "", r.stderr)
		checkWords(t, []string{"auth", "enable"}, run("auth", "enable"))
	}
}
