package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestStatusNamesForgottenLayers(t *testing.T) {
	n := single(t)
	n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading, st.Role = "n1", true, rollcallv1.Role_ROLE_LEADER })
	n.setFresh(time.Now())
	problems := func() []string {
		t.Helper()
		res, err := n.cluster().GetStatus(patient(t), &rollcallv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetProblems()
	}
	if got := problems(); len(got) > 0 {
		t.Fatalf("without any: %q", got)
	}
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(n.now.Add(-d)) }
	ann := &rollcallv1.Actor{Name: "ann"}
	n.registry.mu.Lock()
	n.registry.layers.overrides = []*rollcallv1.Override{
		{Pattern: "*", Status: notServing, Time: ago(26 * time.Hour), Actor: ann, Reason: "maintenance"},
		{Pattern: "**", Status: notServing, Time: ago(3 * time.Minute), ExpireTime: ago(-time.Hour), Reason: "power\ntest\u202e"},
		{Pattern: "a", Status: serving, Time: ago(time.Minute), ExpireTime: ago(-time.Hour)}, // it ends by itself
		{Pattern: "b/*", Status: serving, Time: ago(72 * time.Hour), Actor: &rollcallv1.Actor{Peer: "10.0.0.1:5"}, Reason: strings.Repeat("é", 100)},
	}
	n.registry.layers.rules = []*rollcallv1.Rule{
		{Name: "holds", Pattern: "*", Needed: 1, Serving: 1, Total: 3},
		{Name: "pay-min", Pattern: "pay/*", Needed: 2, Serving: 1, Total: 3},
	}
	n.registry.mu.Unlock()
	want := []string{
		`THE REGISTRY IS SHUT DOWN: every service shows NOT_SERVING, set 3m ago: power\ntest\u202e; it ends by itself in 60m, "rollcall resume" ends it now`,
		"rule pay-min is broken: pay/*: 2 needed, 1 of 3 serve",
		"override * by ann without end for 26h: maintenance",
		"override b/* by 10.0.0.1:5 without end for 3 days: " + strings.Repeat("é", 80) + "…",
	}
	if got := problems(); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}

	for _, test := range []struct {
		whole *rollcallv1.Override
		want  string
	}{
		{&rollcallv1.Override{Status: notServing, Actor: ann}, `THE REGISTRY IS SHUT DOWN: every service shows NOT_SERVING, set by ann 3m ago; it has no end, only "rollcall resume" ends it`},
		{&rollcallv1.Override{Status: notServing, ExpireTime: ago(time.Second)}, `THE REGISTRY IS SHUT DOWN: every service shows NOT_SERVING, set 3m ago; its time is over, a leader ends it as soon as there is one`},
		{&rollcallv1.Override{Status: serving, ExpireTime: ago(-time.Minute)}, `the whole registry is overridden: every service shows SERVING, set 3m ago; it ends by itself in 60s, "rollcall resume" ends it now`},
	} {
		test.whole.Pattern, test.whole.Time = "**", ago(3*time.Minute)
		n.registry.mu.Lock()
		n.registry.layers = fakeLayers{overrides: []*rollcallv1.Override{test.whole}}
		n.registry.mu.Unlock()
		if got := problems(); !slices.Equal(got, []string{test.want}) {
			t.Errorf("got\n%q, want\n%q", got, test.want)
		}
	}

	n.registry.mu.Lock()
	n.registry.layers = fakeLayers{}
	for i := range 100 {
		n.registry.layers.overrides = append(n.registry.layers.overrides, &rollcallv1.Override{Pattern: fmt.Sprintf("s/%02d", i), Time: ago(0)})
		n.registry.layers.rules = append(n.registry.layers.rules, &rollcallv1.Rule{Name: fmt.Sprint(i), Pattern: "*", Needed: 1})
	}
	n.registry.mu.Unlock()
	got := problems()
	if len(got) != 12 || got[5] != "95 more rules are broken" || got[11] != "95 more overrides have no end" {
		t.Errorf("got %q", got)
	}
}
