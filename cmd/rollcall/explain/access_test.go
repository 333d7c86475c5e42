package explain

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestActors(t *testing.T) {
	for _, test := range []struct {
		actor *rollcallv1.Actor
		want  string
	}{
		{nil, "-"},
		{&rollcallv1.Actor{Name: "ann"}, "ann"},
		{&rollcallv1.Actor{Name: "token:ci", Verified: true}, "token:ci"},
		{&rollcallv1.Actor{Name: "token:ci", Verified: true, OnBehalfOf: "ann\x1b"}, `token:ci for ann\x1b`},
	} {
		if got := ActorOrDash(test.actor); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		end  *timestamppb.Timestamp
		want string
	}{
		{nil, "never"}, {at(90 * 24 * time.Hour), "2027-02-20 14:50, in 90d"}, {at(time.Hour), "15:50, in 1h"}, {at(0), "expired 0s ago"}, {at(-3 * time.Hour), "expired 3h ago"},
	} {
		if got := Expiry(now, test.end); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestEventsOfAccess(t *testing.T) {
	grants := []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay\n"}}}
	for _, test := range []struct {
		change        *rollcallv1.AccessChange
		subject, want string
	}{
		{&rollcallv1.AccessChange{Token: &rollcallv1.Token{Name: "ci"}}, "token:ci", "token created"},
		{&rollcallv1.AccessChange{Token: &rollcallv1.Token{Name: "ci", ExpireTime: at(time.Hour)}}, "token:ci", "token created, expires 15:50"},
		{&rollcallv1.AccessChange{Deleted: true, Token: &rollcallv1.Token{Name: "ci"}}, "token:ci", "token revoked"},
		{&rollcallv1.AccessChange{Role: &rollcallv1.AccessRole{Name: "deployer", Verbs: []string{"read", "report"}}}, "deployer", "role may read, report"},
		{&rollcallv1.AccessChange{Deleted: true, Role: &rollcallv1.AccessRole{Name: "deployer"}}, "deployer", "role removed"},
		{&rollcallv1.AccessChange{Grants: &rollcallv1.IdentityGrants{Identity: "cert:a", Grants: grants}}, "cert:a", `grants: reporter on shop/* and pay\n`},
		{&rollcallv1.AccessChange{Grants: &rollcallv1.IdentityGrants{Identity: "cert:a", Denied: true}}, "cert:a", "grants: denied everything"},
		{&rollcallv1.AccessChange{Grants: &rollcallv1.IdentityGrants{Identity: "cert:a", Grants: grants[:1], Denied: true}}, "cert:a", `grants: denied everything, would have reporter on shop/* and pay\n`},
		{&rollcallv1.AccessChange{Deleted: true, Grants: &rollcallv1.IdentityGrants{Identity: "cert:a"}}, "cert:a", "grants removed"},
		{&rollcallv1.AccessChange{Auth: &rollcallv1.Auth{Enforced: true, Anonymous: "viewer"}}, "", "access is enforced; anonymous callers have the role viewer"},
		{&rollcallv1.AccessChange{Auth: &rollcallv1.Auth{Enforced: true}}, "", "access is enforced; anonymous callers may do nothing"},
		{&rollcallv1.AccessChange{Auth: &rollcallv1.Auth{Anonymous: "viewer"}}, "", "access is not enforced: everybody may do everything"},
		{nil, "", "access changed"}, // of a newer node
	} {
		e := &rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED, Access: test.change}
		if subject, got := Subject(e), Change(now, e); subject != test.subject || got != test.want {
			t.Errorf("%q %q, want %q %q", subject, got, test.subject, test.want)
		}
	}
}
