package rpcerror

import (
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// TestRefusalsOfAccess: what the fold refuses because of who the caller is names the identity, the verb and the
// service, and says what to run.
func TestRefusalsOfAccess(t *testing.T) {
	hour := time.Hour.Nanoseconds()
	for name, test := range map[string]struct {
		refusal *logv1.Refusal
		code    codes.Code
		reason  string
		text    string
		meta    map[string]string
	}{
		"a service": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart", Given: "token:ci", Limit: int64(access.Report), Held: "shop/cart"},
			codes.PermissionDenied, "DENIED",
			`denied: token:ci lacks the verb report over "shop/cart"; an administrator can allow it with: rollcall grant add token:ci --role reporter --on shop/cart`,
			map[string]string{"written": "no", "service": "shop/cart", "identity": "token:ci", "verb": "report", "name": "shop/cart"},
		},
		"breaking a rule": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/*", Given: "cert:a", Limit: int64(access.Override | access.Rules), Held: "shop/*"},
			codes.PermissionDenied, "DENIED",
			`denied: cert:a lacks the verbs override, rules over "shop/*"; an administrator can allow it with: rollcall grant add cert:a --role operator --on 'shop/*'`,
			map[string]string{"written": "no", "pattern": "shop/*", "identity": "cert:a", "verb": "override,rules", "name": "shop/*"},
		},
		"anonymous": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_LEASE, Given: "anonymous", Limit: int64(access.Report)},
			codes.PermissionDenied, "DENIED",
			`denied: anonymous lacks the verb report over any service; show a token (--token-file) or a certificate (--cert and --key)`,
			map[string]string{"written": "no", "identity": "anonymous", "verb": "report", "name": ""},
		},
		"a lease of another": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_LEASE, Key: "3f9ac2d18e6b4f06", Given: "cert:a", Limit: int64(access.Report), Held: "*"},
			codes.PermissionDenied, "DENIED",
			`denied: cert:a did not grant lease "3f9ac2d18e6b4f06", and lacks the verb report over everything; let it be granted a lease of its own`,
			map[string]string{"written": "no", "lease": "3f9ac2d18e6b4f06", "identity": "cert:a", "verb": "report", "name": "*"},
		},
		"everything": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_SERVICE, Key: "a", Given: "cert:a", Limit: int64(access.Report), Held: "a", Value: 1},
			codes.PermissionDenied, "DENIED",
			`denied: cert:a is denied everything; an administrator can end that with: rollcall grant allow cert:a`,
			map[string]string{"written": "no", "service": "a", "identity": "cert:a", "verb": "report", "name": "a"},
		},
		"any service, to who has a name": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Kind: logv1.Kind_KIND_GRANTS, Key: "cert:b", Given: "cert:a", Limit: int64(access.Auth)},
			codes.PermissionDenied, "DENIED",
			`denied: cert:a lacks the verb auth over any service; an administrator can allow it with: rollcall grant add cert:a --role admin --on PATTERN`,
			map[string]string{"written": "no", "identity": "cert:a", "verb": "auth", "name": ""},
		},
		"escalation": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_ESCALATION, Kind: logv1.Kind_KIND_GRANTS, Key: "cert:b", Given: "cert:a", Limit: int64(access.Read | access.Auth), Held: "*"},
			codes.PermissionDenied, "ESCALATION",
			`not written: cert:a lacks the verbs read, auth over everything, and nobody gives or takes away what he may not do himself`,
			map[string]string{"written": "no", "identity": "cert:a", "verb": "read,auth", "name": "*"},
		},
		"lockout": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_AUTH_LOCKOUT, Given: "cert:a", Limit: int64(access.Auth)},
			codes.FailedPrecondition, "AUTH_LOCKOUT",
			`not written: afterwards cert:a would lack the verb auth over everything, and could not undo it; grant it the role admin over everything first, or let another administrator do it`,
			map[string]string{"written": "no", "identity": "cert:a"},
		},
		"lockout of who may do everything": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_AUTH_LOCKOUT, Given: "cert:a", Limit: int64(access.Override | access.Rules)},
			codes.FailedPrecondition, "AUTH_LOCKOUT",
			`not written: afterwards cert:a would lack the verbs override, rules over everything, and could not undo it; grant it the role admin over everything first, or let another administrator do it`,
			map[string]string{"written": "no", "identity": "cert:a"},
		},
		"role of one": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_ROLE_IN_USE, Kind: logv1.Kind_KIND_ROLE, Key: "night", Held: "cert:a", Value: 1},
			codes.FailedPrecondition, "ROLE_IN_USE",
			`not written: cert:a has the role "night", and would have the next one of that name; take it from whoever has it first`,
			map[string]string{"written": "no", "identity": "cert:a", "name": "night"},
		},
		"role of many": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_ROLE_IN_USE, Kind: logv1.Kind_KIND_ROLE, Key: "night", Held: "anonymous", Value: 3},
			codes.FailedPrecondition, "ROLE_IN_USE",
			`not written: anonymous callers and 2 other identities have the role "night", and would have the next one of that name; take it from whoever has it first`,
			map[string]string{"written": "no", "identity": "anonymous", "name": "night"},
		},
		"lockout of nobody": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_AUTH_LOCKOUT, Given: "anonymous"},
			codes.FailedPrecondition, "AUTH_LOCKOUT",
			`not written: the caller showed no token and no certificate, so it could not undo this; make a token with the role admin first, and show it (--token-file)`,
			map[string]string{"written": "no", "identity": "anonymous"},
		},
		"revoked": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_REVOKED, Given: "token:ci"},
			codes.Unauthenticated, "TOKEN_REVOKED", "the token of token:ci was revoked", map[string]string{"written": "no", "identity": "token:ci"},
		},
		"expired": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_EXPIRED, Given: "token:ci", Value: hour},
			codes.Unauthenticated, "TOKEN_EXPIRED", "the token of token:ci expired at 1970-01-01T01:00:00Z", map[string]string{"written": "no", "identity": "token:ci"},
		},
		"a name that is taken": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Kind: logv1.Kind_KIND_TOKEN, Key: "ci", Field: "name", Problem: logv1.Refusal_PROBLEM_CONFLICT, Given: "aa", Held: "bb"},
			codes.InvalidArgument, "INVALID_ARGUMENT", `name "ci" is the name of another token, with the id bb; revoke that one first, or choose another name`,
			map[string]string{"written": "no", "name": "ci"},
		},
		"a built-in role": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "name", Problem: logv1.Refusal_PROBLEM_BUILT_IN, Given: "viewer"},
			codes.InvalidArgument, "INVALID_ARGUMENT", `name "viewer" is a role of rollcall itself, which nobody changes; give yours another name`, map[string]string{"written": "no"},
		},
		"no identity": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "identity", Problem: logv1.Refusal_PROBLEM_NOT_AN_IDENTITY, Given: "ci"},
			codes.InvalidArgument, "INVALID_ARGUMENT", `identity "ci" is no identity; one is "cert:" and the name in a certificate, or "token:" and the name of a token`, map[string]string{"written": "no"},
		},
		"ttl": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Field: "ttl", Problem: logv1.Refusal_PROBLEM_TOO_LOW, Value: 1, Limit: int64(time.Second)},
			codes.InvalidArgument, "INVALID_ARGUMENT", "ttl is 1ns; it must be at least 1s", map[string]string{"written": "no"},
		},
		"too many": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_LIMIT, Field: "tokens", Limit: 10_000},
			codes.ResourceExhausted, "TABLE_FULL", "not written: there are 10000 tokens, and there cannot be more; revoke some first", map[string]string{"written": "no"},
		},
		"no role": {
			&logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Kind: logv1.Kind_KIND_ROLE, Key: "x"},
			codes.NotFound, "NOT_FOUND", `role "x" does not exist`, map[string]string{"written": "no", "name": "x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := Refused(test.refusal)
			st := status.Convert(ToStatus("n1", f))
			info := InfoOf(st)
			want := maps.Clone(test.meta)
			want["node"] = "n1"
			if st.Code() != test.code || info.GetReason() != test.reason || st.Message() != test.text || !maps.Equal(info.GetMetadata(), want) {
				t.Errorf("%v %s %q %v", st.Code(), info.GetReason(), st.Message(), info.GetMetadata())
			}
		})
	}
}

// TestDeniedReadsAndWritesAreWordedAlike: the entry node denies reads in the words in which the fold denies writes.
func TestDeniedReadsAndWritesAreWordedAlike(t *testing.T) {
	f := Denied("cert:Alice Smith", access.Read, "it's")
	if f.Reason != ReasonDenied || f.Message != `denied: cert:Alice Smith lacks the verb read over "it's"; an administrator can allow it with: rollcall grant add 'cert:Alice Smith' --role viewer --on 'it'\''s'` ||
		f.Meta[MetaIdentity] != "cert:Alice Smith" || f.Meta[MetaVerb] != "read" || f.Meta[MetaName] != "it's" {
		t.Errorf("%+v", f)
	}
}
