package cluster_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// together calls do for 0 to n-1, twenty at a time.
func together(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	all.Wait()
}

// TestVirtualLayersAreLimited: as many prefix overrides and rules as there can be, and no more; a change that
// breaks all rules at once is one error that clients can receive.
func TestVirtualLayersAreLimited(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		cl := c.clientFor(t)
		full := func(what string, err error) {
			t.Helper()
			e := errorOf(t, err)
			if e.Code != codes.ResourceExhausted || e.Reason != client.ReasonTableFull || e.Written != client.WrittenNo || !strings.Contains(e.Message, "there are 1000 "+what) {
				t.Errorf("%s: %v", what, err)
			}
			quota := false
			for _, d := range status.Convert(err).Details() {
				q, ok := d.(*errdetails.QuotaFailure)
				quota = quota || ok && len(q.GetViolations()) == 1
			}
			if !quota {
				t.Errorf("%s: no QuotaFailure in %v", what, err)
			}
		}
		together(limits.MaxPrefixOverrides, func(i int) {
			if _, err := cl.SetOverride(c.patiently(), fmt.Sprintf("o/%d/*", i), notServing, client.WriteOptions{}); err != nil {
				t.Errorf("override %d: %v", i, err)
			}
		})
		_, err := cl.SetOverride(c.patiently(), "o/more/*", notServing, client.WriteOptions{})
		full("prefix overrides", err)
		_, err = cl.SetOverride(c.patiently(), "o/more/*", notServing, client.WriteOptions{DryRun: true})
		full("prefix overrides", err)
		c.override(cl, "o/7/*", serving, client.WriteOptions{}) // one of them
		c.override(cl, "exact", serving, client.WriteOptions{})
		c.clearOverride(cl, "o/7/*")
		c.override(cl, "o/more/*", notServing, client.WriteOptions{})

		c.set(cl, "pay", serving)
		together(limits.MaxRules, func(i int) {
			if _, err := cl.SetRule(c.patiently(), client.Rule{Name: fmt.Sprintf("rule-%03d", i), Pattern: "*", MinServing: 1}, client.WriteOptions{}); err != nil {
				t.Errorf("rule %d: %v", i, err)
			}
		})
		_, err = cl.SetRule(c.patiently(), client.Rule{Name: "more", Pattern: "*", MinServing: 1}, client.WriteOptions{})
		full("rules", err)
		for _, n := range c.nodes {
			through := c.client(n)
			_, err = through.Shutdown(c.patiently(), client.WriteOptions{})
			e, broken := errorOf(t, err), client.BrokenRules(err)
			if e.Reason != client.ReasonRuleBroken || e.Written != client.WrittenNo || len(broken) < 30 || broken[0].GetRule() != "rule-000" || !strings.Contains(e.Message, " more") {
				t.Errorf("through %s: %d rules, %v", n.cfg.Name, len(broken), err)
			}
			all, err := through.Shutdown(c.patiently(), client.WriteOptions{DryRun: true, BreakGlass: []string{"*"}, Reason: "which?"})
			if err != nil || len(all.GetBrokenRules()) != limits.MaxRules || all.GetAffectedTotal() != 1 {
				t.Errorf("through %s: %d rules, %v", n.cfg.Name, len(all.GetBrokenRules()), err)
			}
			through.Close()
		}
		c.agree()
	})
}
