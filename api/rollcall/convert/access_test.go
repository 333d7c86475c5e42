package convert

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestEventsOfAccess: an event of access shows one of the four kinds, as the event left it. What is deleted has its
// name, and no secret is shown.
func TestEventsOfAccess(t *testing.T) {
	actor := &logv1.Actor{Name: "token:ci", Verified: true, OnBehalfOf: "ann", Credential: "0001020304050607"}
	secret := bytes.Repeat([]byte{7}, 32)
	grants := []*logv1.Grant{{Role: "reporter", Patterns: []string{"shop/*"}}}
	for _, test := range []struct {
		kind  logv1.Kind
		key   string
		after logv1.Value
		want  *rollcallv1.AccessChange
		gone  *rollcallv1.AccessChange
	}{
		{
			logv1.Kind_KIND_TOKEN, "ci", &logv1.Token{SecretSha256: secret, Description: "d", ExpireTime: 9, Actor: actor, Revision: 3},
			&rollcallv1.AccessChange{Token: &rollcallv1.Token{Name: "ci", Id: "0707070707070707", Description: "d", ExpireTime: Timestamp(9), Actor: actorOf(actor), Revision: 3}},
			&rollcallv1.AccessChange{Deleted: true, Token: &rollcallv1.Token{Name: "ci"}},
		},
		{
			logv1.Kind_KIND_ROLE, "mine", &logv1.Role{Verbs: 3, Revision: 3},
			&rollcallv1.AccessChange{Role: &rollcallv1.AccessRole{Name: "mine", Verbs: []string{"read", "report"}, Revision: 3}},
			&rollcallv1.AccessChange{Deleted: true, Role: &rollcallv1.AccessRole{Name: "mine"}},
		},
		{
			logv1.Kind_KIND_GRANTS, "cert:a", &logv1.Grants{Grants: grants, Denied: true, Reason: "r", Revision: 3},
			&rollcallv1.AccessChange{Grants: &rollcallv1.IdentityGrants{Identity: "cert:a", Grants: Grants(grants), Denied: true, Reason: "r", Revision: 3}},
			&rollcallv1.AccessChange{Deleted: true, Grants: &rollcallv1.IdentityGrants{Identity: "cert:a"}},
		},
		{
			logv1.Kind_KIND_AUTH, "auth", &logv1.Auth{Enforced: true, Anonymous: "viewer", Revision: 3},
			&rollcallv1.AccessChange{Auth: &rollcallv1.Auth{Enforced: true, Anonymous: "viewer", Revision: 3}},
			&rollcallv1.AccessChange{Deleted: true, Auth: &rollcallv1.Auth{}},
		},
	} {
		after, err := logv1.AppendValue(nil, test.after)
		if err != nil {
			t.Fatal(err)
		}
		e := &logv1.Event{Type: logv1.EventType_EVENT_TYPE_ACCESS_CHANGED, Kind: test.kind, Key: test.key, After: after, Actor: actor}
		got := Event(e)
		if !proto.Equal(got.GetAccess(), test.want) || got.GetActor().GetOnBehalfOf() != "ann" || got.GetType() != rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED {
			t.Errorf("%v:\n%v, want\n%v", test.kind, got, test.want)
		}
		if shown, _ := proto.Marshal(got); bytes.Contains(shown, secret[:9]) {
			t.Errorf("%v shows the secret's hash", test.kind)
		}
		e.Deletes, e.After = true, nil
		if got := Event(e); !proto.Equal(got.GetAccess(), test.gone) {
			t.Errorf("%v deleted:\n%v, want\n%v", test.kind, got, test.gone)
		}
		e.Deletes, e.After = false, []byte{0xff}
		if got := Event(e).GetAccess(); got.GetToken().GetName()+got.GetRole().GetName()+got.GetGrants().GetIdentity() != test.key && got.GetAuth() == nil {
			t.Errorf("%v that cannot be read: %v", test.kind, got)
		}
	}
}

func TestBuiltInRoles(t *testing.T) {
	var names []string
	for _, r := range BuiltInRoles() {
		names = append(names, r.GetName())
		if !r.GetBuiltIn() || len(r.GetVerbs()) < 2 {
			t.Errorf("%v", r)
		}
	}
	if !slices.Equal(names, []string{"viewer", "reporter", "operator", "admin"}) {
		t.Errorf("%v", names)
	}
	if g := Grants(LogGrants([]*rollcallv1.Grant{{Role: "r", Patterns: []string{"a", "b"}}})); len(g) != 1 || g[0].GetRole() != "r" || len(g[0].GetPatterns()) != 2 {
		t.Errorf("%v", g)
	}
	if TokenID([]byte("short")) != "" {
		t.Error("an id of too little")
	}
}
