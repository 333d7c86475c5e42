package main

import (
	"fmt"
	"slices"
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
)

// grantsWith returns grants and a role over patterns. added is what was not granted before; none: nothing is new.
func grantsWith(grants []*rollcallv1.Grant, role string, patterns []string) (all []*rollcallv1.Grant, added []string) {
	for _, p := range patterns {
		if !slices.Contains(added, p) && !slices.ContainsFunc(grants, func(g *rollcallv1.Grant) bool {
			return g.GetRole() == role && slices.Contains(g.GetPatterns(), p)
		}) {
			added = append(added, p)
		}
	}
	if len(added) == 0 {
		return grants, nil
	}
	all = slices.Clone(grants)
	if i := slices.IndexFunc(all, func(g *rollcallv1.Grant) bool { return g.GetRole() == role }); i >= 0 {
		all[i] = &rollcallv1.Grant{Role: role, Patterns: slices.Concat(all[i].GetPatterns(), added)}
		return all, added
	}
	return append(all, &rollcallv1.Grant{Role: role, Patterns: added}), added
}

// grantsWithout returns grants without a role over patterns; without patterns, over all that it has; without a role,
// whatever it is. missing says what is to be removed and is not granted; "" if all of it is.
func grantsWithout(grants []*rollcallv1.Grant, role string, patterns []string) (rest []*rollcallv1.Grant, missing string) {
	found := map[string]bool{}
	for _, g := range grants {
		if role != "" && g.GetRole() != role {
			rest = append(rest, g)
			continue
		}
		found[""] = true
		if len(patterns) == 0 {
			continue
		}
		var left []string
		for _, p := range g.GetPatterns() {
			if slices.Contains(patterns, p) {
				found[p] = true
			} else {
				left = append(left, p)
			}
		}
		if len(left) > 0 {
			rest = append(rest, &rollcallv1.Grant{Role: g.GetRole(), Patterns: left})
		}
	}
	var absent []string
	for _, p := range patterns {
		if !found[p] && !slices.Contains(absent, p) {
			absent = append(absent, p)
		}
	}
	switch {
	case len(absent) > 0 && role == "":
		missing = "no grant on " + strings.Join(absent, " and ")
	case len(absent) > 0:
		missing = "no grant of " + explain.Grant(&rollcallv1.Grant{Role: role, Patterns: absent})
	case !found[""] && role == "":
		missing = "no grants"
	case !found[""]:
		missing = fmt.Sprintf("no grant of the role %s", role)
	}
	return rest, missing
}
