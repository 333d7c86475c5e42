package main

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
)

func TestGrantAddRemoveDenyAllow(t *testing.T) {
	_, run := shop(t)
	run("grant", "list").want(t, 0, "", "nothing is granted; \"rollcall grant add\" grants a role\n")
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "shop/*", "--dry-run").want(t, 0, "cert:shop: reporter on shop/*; dry run, nothing changed\n", "")
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "shop/*").want(t, 0, "cert:shop: reporter on shop/*, revision 5\n", "")
	run("grant", "add", "cert:shop", "--role", "viewer", "--on", "pay", "--on", "db,cache.*").want(t, 0, "cert:shop: reporter on shop/*, viewer on pay and db and cache.*, revision 6\n", "")
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "pay,shop/*").want(t, 0, "cert:shop: reporter on shop/* and pay, viewer on pay and db and cache.*, revision 7\n", "")
	run("grant", "add", "cert:shop", "--role", "viewer", "--on", "db").want(t, 0, "cert:shop: reporter on shop/* and pay, viewer on pay and db and cache.*, already since revision 7; nothing changed\n", "")
	run("grant", "remove", "cert:shop", "--role", "viewer", "--on", "db").want(t, 0, "cert:shop: reporter on shop/* and pay, viewer on pay and cache.*, revision 8\n", "")
	run("grant", "remove", "cert:shop", "--on", "pay").want(t, 0, "cert:shop: reporter on shop/*, viewer on cache.*, revision 9\n", "")
	run("grant", "deny", "cert:shop", "--reason", "its key was copied").want(t, 0, "cert:shop: denied everything, would have reporter on shop/*, viewer on cache.*, revision 10\n", "")
	run("grant", "deny", "cert:build").want(t, 0, "cert:build: denied everything, revision 11\n", "")
	run("grant", "list").want(t, 0, ""+
		"IDENTITY    MAY                                                                  REVISION  ACTOR                REASON\n"+
		"cert:build  denied everything                                                    11        token:admin for ann  -\n"+
		"cert:shop   denied everything, would have reporter on shop/*, viewer on cache.*  10        token:admin for ann  its key was copied\n", "")
	run("grant", "list", "cert:build", "-o", "name").want(t, 0, "cert:build\n", "")
	run("grant", "allow", "cert:shop").want(t, 0, "cert:shop: reporter on shop/*, viewer on cache.*, revision 12\n", "")
	run("grant", "allow", "cert:shop").want(t, 0, "cert:shop: reporter on shop/*, viewer on cache.*, already since revision 12; nothing changed\n", "")
	run("grant", "allow", "cert:build").want(t, 0, "cert:build: nothing, revision 13\n", "")
	run("grant", "remove", "cert:shop", "--role", "viewer").want(t, 0, "cert:shop: reporter on shop/*, revision 14\n", "")
	run("grant", "remove", "cert:shop", "--role", "viewer").want(t, 1, "", "rollcall: cert:shop has no grant of the role viewer; \"rollcall grant list\" shows what it has\n")
	run("grant", "remove", "cert:shop", "--role", "reporter", "--on", "shop/cart").want(t, 1, "", "rollcall: cert:shop has no grant of reporter on shop/cart; \"rollcall grant list\" shows what it has\n")
	run("grant", "remove", "cert:shop", "--on", "pay", "--allow-missing").want(t, 0, "cert:shop: reporter on shop/*, already since revision 14; nothing changed\n", "")
	run("grant", "remove", "cert:shop").want(t, 0, "cert:shop: nothing, revision 15\n", "")
	run("grant", "remove", "cert:shop").want(t, 1, "", "rollcall: cert:shop has no grants; \"rollcall grant list\" shows what it has\n")
	run("grant", "remove", "cert:shop", "--allow-missing").want(t, 0, "cert:shop: nothing; nothing changed\n", "")
	run("grant", "add", "anonymous", "--role", "viewer", "--on", "*").want(t, 1, "", "rollcall: anonymous callers have no grants; \"rollcall auth enable --anonymous ROLE\" says what they may do\n")
	run("grant", "add", "cert:a", "--role", "viewer").want(t, 1, "", "rollcall: --on is missing: the services that the role is for; give names or patterns, as --on 'shop/*'; '*' stands for all services\n")
	run("grant", "add", "cert:a", "--on", "*").want(t, 1, "", "rollcall: --role is missing; \"rollcall role list\" shows the roles\n")
	run("grant", "add", "cert:a", "--role", "viewer", "--on", "shop*").want(t, 1, "", "rollcall: --on: pattern \"shop*\" …")
	run("events", "--type", "access-changed", "--from", "10", "--to", "11").want(t, 0, ""+
		"REVISION  TIME                     SERVICE     FROM→TO                                                                      ACTOR                REASON\n"+
		"10        2026-11-22 10:10:00.000  cert:shop   grants: denied everything, would have reporter on shop/*, viewer on cache.*  token:admin for ann  its key was copied\n"+
		"11        2026-11-22 10:11:00.000  cert:build  grants: denied everything                                                    token:admin for ann  -\n", "")
}

// Whoever adds or removes a grant loses none that somebody else makes at the same time.
func TestNoGrantIsLost(t *testing.T) {
	f, run := shop(t)
	other := func(pattern string) func() {
		return func() {
			f.revision++
			before := f.access.grants["cert:shop"].GetGrants()
			all, _ := grantsWith(before, "viewer", []string{pattern})
			f.give(&rollcallv1.IdentityGrants{Identity: "cert:shop", Grants: all})
		}
	}
	f.access.before = other("x")
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "a").want(t, 0, "cert:shop: viewer on x, reporter on a, revision 6\n", "")
	f.access.before = other("y")
	run("grant", "remove", "cert:shop", "--role", "reporter").want(t, 0, "cert:shop: viewer on x and y, revision 8\n", "")
	f.access.before = other("z")
	run("grant", "deny", "cert:shop").want(t, 0, "cert:shop: denied everything, would have viewer on x and y and z, revision 10\n", "")
	// Three others, one after the other.
	f.access.before = func() {
		other("z1")()
		f.access.before = func() {
			other("z2")()
			f.access.before = other("z3")
		}
	}
	run("grant", "add", "cert:shop", "--role", "viewer", "--on", "w").want(t, 0, "cert:shop: viewer on x and y and z and z1 and z2 and z3 and w, revision 14\n", "")
	run("grant", "deny", "cert:shop").want(t, 0, "…", "")
	// A condition of the caller's own is not given up.
	f.access.before = other("q")
	run("grant", "allow", "cert:shop", "--if-revision", "15").want(t, 1, "", "rollcall: cannot allow cert:shop: its revision is 16, and --if-revision asks for another; look at it again before you repeat that\n")
}

// Adding and removing a grant is what it would be on a set of pairs of role and pattern.
func TestGrantsAreASet(t *testing.T) {
	type pair struct{ role, pattern string }
	set := func(grants []*rollcallv1.Grant) map[pair]bool {
		m := map[pair]bool{}
		for _, g := range grants {
			for _, p := range g.GetPatterns() {
				if m[pair{g.GetRole(), p}] {
					panic("twice")
				}
				m[pair{g.GetRole(), p}] = true
			}
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		roles, patterns := rapid.SampledFrom([]string{"r1", "r2", "r3"}), rapid.SampledFrom([]string{"a", "b", "c/*"})
		var grants []*rollcallv1.Grant
		want := map[pair]bool{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			role, on := roles.Draw(t, "role"), rapid.SliceOfN(patterns, 0, 3).Draw(t, "on")
			before := make([]*rollcallv1.Grant, len(grants))
			for i, g := range grants {
				before[i] = proto.CloneOf(g)
			}
			was := grants
			if rapid.Bool().Draw(t, "add") {
				var added []string
				grants, added = grantsWith(grants, role, on)
				for _, p := range on {
					if want[pair{role, p}] == slices.Contains(added, p) {
						t.Fatalf("%s on %s was %t, added %v", role, p, want[pair{role, p}], added)
					}
				}
				for _, p := range on {
					want[pair{role, p}] = true
				}
			} else {
				any := rapid.Bool().Draw(t, "any role")
				if any {
					role = ""
				}
				missing := false
				for _, p := range on {
					missing = missing || !slices.ContainsFunc(grants, func(g *rollcallv1.Grant) bool {
						return (role == "" || g.GetRole() == role) && slices.Contains(g.GetPatterns(), p)
					})
				}
				if len(on) == 0 {
					missing = !slices.ContainsFunc(grants, func(g *rollcallv1.Grant) bool { return role == "" || g.GetRole() == role })
				}
				rest, said := grantsWithout(grants, role, on)
				if (said != "") != missing {
					t.Fatalf("without %s on %v: %q, missing %t", role, on, said, missing)
				}
				grants = rest
				for p := range want {
					if (role == "" || p.role == role) && (len(on) == 0 || slices.Contains(on, p.pattern)) {
						delete(want, p)
					}
				}
			}
			if explain.Grants(was) != explain.Grants(before) {
				t.Fatal("the grants that were given were changed")
			}
			got := set(grants)
			for p := range want {
				if !got[p] {
					t.Fatalf("%v is lost: %s", p, explain.Grants(grants))
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%s, want %v", explain.Grants(grants), want)
			}
		}
	})
}
