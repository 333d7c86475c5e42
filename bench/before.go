package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/bench/report"
)

// beforeName is how tables name an earlier tree of Rollcall that this one is measured beside.
const beforeName = "before"

// beforeScenarios are the scenarios that two trees of Rollcall can take turns in.
var beforeScenarios = []string{"check", "writes", "writestream", "batches", "reads", "restart", "memory"}

// aloneScenarios are those that need no peers.
var aloneScenarios = []string{"tls", "layers", "leases"}

// beforeTolerance is how much worse than before a figure may be.
const beforeTolerance = 0.03

// newRollcallBefore makes a cluster of the earlier tree. It does not run yet.
func newRollcallBefore(s *session, nodes int) (*rollcall, error) {
	return newRollcallOf(s, beforeName, "rollcall-before", nodes)
}

// besideBefore makes r a comparison of the two trees: peers that were not measured leave the table, and
// every row has the same bar. A higher figure is better where the unit is a rate, a lower one elsewhere.
func besideBefore(r *report.Scenario) {
	for _, row := range r.Rows {
		row.Series = slices.DeleteFunc(row.Series, func(s *report.Series) bool { return len(s.Values) == 0 })
		row.Bar = report.RatioAtMost(1+beforeTolerance, 0)
		if strings.HasSuffix(row.Unit, "/s") {
			row.Bar = report.RatioAtLeast(1-beforeTolerance, 0)
		}
	}
}

// binaries are what a run needs. Each contestant is a binary of its own, so that its figures are not those of
// a binary that holds the others too.
func (s *session) binaries() []binary {
	ours := binary{s.repo, "./cmd/rollcall", "rollcall"}
	if s.before != "" {
		return []binary{ours, {s.before, "./cmd/rollcall", "rollcall-before"}}
	}
	if len(s.only) > 0 && !slices.ContainsFunc(s.only, func(name string) bool { return !slices.Contains(aloneScenarios, name) }) {
		return []binary{ours}
	}
	bench := filepath.Join(s.repo, "bench")
	return []binary{ours, {bench, "./peers/etcd", "etcd"}, {bench, "./peers/nats", "nats"}, {bench, "./peers/health", "health"}}
}

// binary is a package in a directory, and the name of what is built of it.
type binary struct{ dir, what, name string }

// checkBefore says what is wrong with scenarios that are to be run beside an earlier tree.
func checkBefore(only []string) error {
	for _, name := range only {
		if !slices.Contains(beforeScenarios, name) {
			return fmt.Errorf("--before takes the scenarios %s; %q is not one of them", strings.Join(beforeScenarios, ","), name)
		}
	}
	return nil
}
