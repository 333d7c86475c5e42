package authz

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func TestWhichEventsAReaderSees(t *testing.T) {
	bytes := func(m interface{ MarshalVT() ([]byte, error) }) []byte {
		b, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mine := &logv1.Actor{Name: "token:ci", Verified: true}
	events := map[string]*logv1.Event{
		"shop/cart":   {Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart"},
		"pay":         {Kind: logv1.Kind_KIND_SERVICE, Key: "pay"},
		"over *":      {Kind: logv1.Kind_KIND_OVERRIDE, Key: "*"},
		"over shop/x": {Kind: logv1.Kind_KIND_OVERRIDE, Key: "shop/x/*"},
		"over pay":    {Kind: logv1.Kind_KIND_OVERRIDE, Key: "pay"},
		"rule shop":   {Kind: logv1.Kind_KIND_RULE, Key: "r", After: bytes(&logv1.Rule{Pattern: "shop/*"})},
		"rule pay":    {Kind: logv1.Kind_KIND_RULE, Key: "r", After: bytes(&logv1.Rule{Pattern: "pay"})},
		"rule gone":   {Kind: logv1.Kind_KIND_RULE, Key: "r", Deletes: true},
		"rule odd":    {Kind: logv1.Kind_KIND_RULE, Key: "r", After: []byte{0xff}},
		"granted":     {Kind: logv1.Kind_KIND_LEASE, Key: "l", Type: logv1.EventType_EVENT_TYPE_LEASE_GRANTED, Actor: mine},
		"ended":       {Kind: logv1.Kind_KIND_LEASE, Key: "l", Type: logv1.EventType_EVENT_TYPE_LEASE_ENDED, After: bytes(&logv1.Lease{Actor: mine})},
		"other lease": {Kind: logv1.Kind_KIND_LEASE, Key: "l", Type: logv1.EventType_EVENT_TYPE_LEASE_ENDED, Actor: mine, After: bytes(&logv1.Lease{Actor: &logv1.Actor{Name: "token:x", Verified: true}})},
		"claimed":     {Kind: logv1.Kind_KIND_LEASE, Key: "l", Type: logv1.EventType_EVENT_TYPE_LEASE_GRANTED, Actor: &logv1.Actor{Name: "token:ci"}},
		"member":      {Kind: logv1.Kind_KIND_MEMBER, Key: "n1"},
		"removed":     {Kind: logv1.Kind_KIND_REMOVED_MEMBER, Key: "d1"},
		"guard":       {Kind: logv1.Kind_KIND_LEASE_GUARD, Key: "guard"},
		"token":       {Kind: logv1.Kind_KIND_TOKEN, Key: "ci"},
		"role":        {Kind: logv1.Kind_KIND_ROLE, Key: "r"},
		"grants":      {Kind: logv1.Kind_KIND_GRANTS, Key: "token:ci"},
		"auth":        {Kind: logv1.Kind_KIND_AUTH, Key: "auth"},
		"newer":       {Kind: 99, Key: "shop/cart"},
	}
	part := access.Grant{Verbs: access.Read, Pattern: "shop/*"}
	for name, test := range map[string]struct {
		reader *Reader
		sees   []string
	}{
		"a part":       {reader("token:ci", part), []string{"shop/cart", "over *", "over shop/x", "rule shop", "granted", "ended"}},
		"and status":   {reader("token:y", part, access.Grant{Verbs: access.Status, Pattern: "*"}), []string{"shop/cart", "over *", "over shop/x", "rule shop", "member", "removed", "guard"}},
		"auth alone":   {reader("token:y", access.Grant{Verbs: access.Auth, Pattern: "*"}), []string{"token", "role", "grants", "auth"}},
		"auth in part": {reader("token:y", access.Grant{Verbs: access.Auth, Pattern: "shop/*"}), nil},
		"all but access": {reader("anonymous", access.Grant{Verbs: access.Read, Pattern: "*"}), []string{
			"shop/cart", "pay", "over *", "over shop/x", "over pay", "rule shop", "rule pay", "rule gone", "rule odd", "granted", "ended", "other lease", "claimed", "member", "removed", "guard", "newer",
		}},
	} {
		for what, e := range events {
			if got := test.reader.Sees(e); got != slices.Contains(test.sees, what) {
				t.Errorf("%s: %s: %v", name, what, got)
			}
		}
	}
	for what, e := range events {
		if !Everybody().Sees(e) {
			t.Errorf("not everybody sees %s", what)
		}
	}
}

func TestWhatAReaderIsNotTold(t *testing.T) {
	r := reader("token:ci", access.Grant{Verbs: access.Read, Pattern: "shop/*"})
	broken := func() []*rollcallv1.BrokenRule {
		return []*rollcallv1.BrokenRule{{Rule: "all", Pattern: "*"}, {Rule: "shop", Pattern: "shop/*"}, {Rule: "pay", Pattern: "pay"}}
	}
	glass := []string{"all", "shop", "other", "*"}
	for _, test := range []struct{ full, part *rollcallv1.Event }{
		{
			&rollcallv1.Event{Service: "shop/cart", BrokenRules: broken(), BreakGlass: glass},
			&rollcallv1.Event{Service: "shop/cart", BrokenRules: broken()[1:2], BreakGlass: []string{"shop", "*"}},
		},
		{&rollcallv1.Event{Pattern: "*", MatchedCount: 9}, &rollcallv1.Event{Pattern: "*"}},
		{&rollcallv1.Event{Pattern: "shop/*", MatchedCount: 9}, &rollcallv1.Event{Pattern: "shop/*", MatchedCount: 9}},
		{&rollcallv1.Event{Lease: &rollcallv1.Lease{}, MatchedCount: 9}, &rollcallv1.Event{Lease: &rollcallv1.Lease{}}},
	} {
		whole := proto.CloneOf(test.full)
		if Everybody().Redact(whole); !proto.Equal(whole, test.full) {
			t.Errorf("everybody is told %v", whole)
		}
		if r.Redact(test.full); !proto.Equal(test.full, test.part) {
			t.Errorf("it is told %v, want %v", test.full, test.part)
		}
	}
	if !slices.Equal(glass, []string{"all", "shop", "other", "*"}) {
		t.Error("what the log holds is changed")
	}

	rules := []*rollcallv1.Rule{
		{Name: "all", Pattern: "*", MinServing: 3, Needed: 3, Serving: 2, Total: 9},
		{Name: "pay", Pattern: "pay/*", Needed: 1, Serving: 1, Total: 1},
		{Name: "shop", Pattern: "shop/*", Needed: 2, Serving: 1, Total: 4},
	}
	got := r.Rules(rules)
	if len(got) != 2 || !proto.Equal(got[0], &rollcallv1.Rule{Name: "all", Pattern: "*", MinServing: 3}) || got[1] != rules[2] || rules[0].Total != 9 {
		t.Errorf("%v", got)
	}
	if got := Everybody().Rules(rules); len(got) != 3 || got[0].Total != 9 {
		t.Errorf("%v", got)
	}

	for _, test := range []struct {
		reader *Reader
		late   int64
	}{{r, 0}, {Everybody(), 5}, {reader("x", access.Grant{Verbs: access.Status, Pattern: "*"}), 5}} {
		guard := &rollcallv1.LeaseGuard{Engaged: true, Late: 5, Live: 9}
		if test.reader.RedactGuard(guard); guard.Late != test.late || !guard.Engaged || (guard.Live == 0) != (test.late == 0) {
			t.Errorf("%v", guard)
		}
		test.reader.RedactGuard(nil)
	}

	filter := r.Leases()
	if Everybody().Leases() != nil || !filter.Service("shop/a") || filter.Service("pay") ||
		!filter.Lease(&logv1.Lease{Actor: &logv1.Actor{Name: "token:ci", Verified: true}}) || filter.Lease(&logv1.Lease{Actor: &logv1.Actor{Name: "token:ci"}}) {
		t.Error("which leases are shown")
	}
}
