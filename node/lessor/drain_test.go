package lessor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestEndingLeasesAreDrained, and no more is proposed than is left to do.
func TestEndingLeasesAreDrained(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, c *cluster) {
		left := map[string]int{id(1): 3, id(2): 1, id(3): 2, id(4): 5}
		c.set(func() {
			c.propose = func(_ context.Context, cmd *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
				for _, x := range cmd.GetExpire().GetLeases() {
					if left[x.GetLeaseId()]--; left[x.GetLeaseId()] == 0 {
						c.put(x.GetLeaseId(), nil)
					}
				}
				return &logv1.Result{}, nil
			}
		})
		for _, i := range []int{1, 2} {
			c.put(id(i), &logv1.Lease{End: &logv1.LeaseEnd{Revoked: true, RequestId: "r1"}})
		}
		for _, i := range []int{3, 4} {
			c.put(id(i), &logv1.Lease{End: &logv1.LeaseEnd{}})
		}
		time.Sleep(time.Second)
		seen := map[string]int{}
		for _, cmd := range c.commands() {
			for _, x := range cmd.GetExpire().GetLeases() {
				seen[x.GetLeaseId()]++
			}
			if cmd.GetExpire().GetTerm() != 1 || cmd.GetActor().GetName() != "node n1" || cmd.GetRequestId() != "" {
				t.Errorf("proposed %v", cmd)
			}
		}
		for i, n := range map[int]int{1: 3, 2: 1, 3: 2, 4: 5} {
			if seen[id(i)] != n {
				t.Errorf("%s was drained %d times, want %d", id(i), seen[id(i)], n)
			}
		}
		if s := c.l.Stats(); s.Live != 0 || s.Expired != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// TestOthersGoFirstBetweenTwoCommands: the Lessor waits a quarter of the time that a command took, and not for long.
func TestOthersGoFirstBetweenTwoCommands(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{40 * time.Millisecond: 10 * time.Millisecond, time.Second: mostGivenWay} {
		inBubble(t, 0, func(t *testing.T, c *cluster) {
			var begun []time.Time
			c.set(func() {
				c.propose = func(context.Context, *logv1.Command, func() *logv1.Result) (*logv1.Result, error) {
					begun = append(begun, time.Now())
					time.Sleep(took)
					if len(begun) == 3 {
						c.put(id(1), nil)
					}
					return &logv1.Result{}, nil
				}
			})
			c.put(id(1), &logv1.Lease{End: &logv1.LeaseEnd{Revoked: true}})
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if len(begun) != 3 {
				t.Fatalf("%d commands", len(begun))
			}
			for i := range 2 {
				if pause := begun[i+1].Sub(begun[i]) - took; pause != want {
					t.Errorf("after a command of %s it waits %s, want %s", took, pause, want)
				}
			}
		})
	}
}

// TestEndedLeasesAreForgotten by the cluster's clock, also by a leader that did not see them end.
func TestEndedLeasesAreForgotten(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, c *cluster) {
		ended := func(i int, after time.Duration) {
			c.put(id(i), &logv1.Lease{End: &logv1.LeaseEnd{Done: true, ForgetTime: time.Now().Add(after).UnixNano()}})
		}
		kept := func(want int) {
			t.Helper()
			c.set(func() {
				if len(c.leases) != want {
					t.Errorf("%d leases are kept, want %d", len(c.leases), want)
				}
			})
		}
		ended(1, time.Minute)
		ended(2, time.Hour)
		for i := range 1500 {
			ended(10+i, 2*time.Minute)
		}
		c.put(id(3), &logv1.Lease{End: &logv1.LeaseEnd{Done: true}})
		time.Sleep(time.Minute - time.Millisecond)
		kept(1503)
		time.Sleep(time.Second)
		kept(1502)
		c.lead(2)
		time.Sleep(time.Minute)
		kept(2)
		c.set(func() { c.skew = time.Hour })
		time.Sleep(time.Second)
		kept(1)
		for _, cmd := range c.commands() {
			if n := len(cmd.GetExpire().GetForgottenLeases()); n == 0 || n > 1000 || cmd.GetExpire().GetTerm() == 0 {
				t.Errorf("proposed %v", cmd)
			}
		}
		if n := len(c.commands()); n != 4 {
			t.Errorf("%d commands", n)
		}
	})
}
