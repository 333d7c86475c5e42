package lessor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// endsAfter wants a lease to end so long after a time, or up to a second later.
func (c *cluster) endsAfter(id string, from time.Time, ttl time.Duration) {
	c.t.Helper()
	for time.Since(from) < ttl+2*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if took := c.endOf(id).Sub(from); took < ttl || took > ttl+time.Second {
		c.t.Errorf("%s ended after %s, want %s", id, took, ttl)
	}
}

func TestALeaseEndsATTLAfterItsLastRenewal(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"a renewal soon after":          time.Second,
		"one between two ticks":         4*time.Second + 73*time.Millisecond,
		"one just before the end":       9990 * time.Millisecond,
		"one that comes just after one": 300 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				time.Sleep(after)
				sent := time.Now()
				c.renew(id(0))
				c.endsAfter(id(0), sent, 10*time.Second)
				if lost, _, err := c.l.Renew(t.Context(), []string{id(0), "never"}); err != nil || len(lost) != 2 {
					t.Errorf("lost %v, %v", lost, err)
				}
				cmd := c.commands()[0]
				if cmd.GetActor().GetName() != "node n1" || !cmd.GetActor().GetVerified() || cmd.GetReason() != "lease expired" || cmd.GetExpire().GetTerm() != 1 {
					t.Errorf("proposed %v", cmd)
				}
			})
		})
	}
}

func TestRenewedLeasesLive(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, c *cluster) {
		stop := c.renewing(3*time.Second, idsUpTo(4)...)
		c.endsAfter(id(4), time.Now(), 10*time.Second)
		time.Sleep(10 * time.Minute)
		stop()
		if n := c.live(); n != 4 {
			t.Errorf("%d leases live", n)
		}
		if s := c.l.Stats(); s.Live != 4 || s.Renewals < 800 || s.Expired != 1 || s.Late != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// TestAPauseIsNotTheReportersTime: while the process was stopped nobody could renew.
func TestAPauseIsNotTheReportersTime(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.renew(id(0))
		from := time.Now()
		time.Sleep(5 * time.Second)
		for range 8 {
			c.set(func() { c.paused += time.Minute })
			time.Sleep(200 * time.Millisecond)
		}
		// Eight pauses count 150 ms more than what passed, at most.
		c.endsAfter(id(0), from.Add(-8*150*time.Millisecond), 10*time.Second)
	})
}

func TestAStepOfTheClusterClockEndsNoLease(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		from := time.Now()
		time.Sleep(time.Second)
		c.set(func() { c.skew = 60 * 24 * time.Hour })
		c.endsAfter(id(0), from, 10*time.Second)
	})
}

func TestALeadershipGivesAWholeTTL(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, c *cluster) {
		time.Sleep(9 * time.Second)
		c.lead(0)
		if _, _, err := c.l.Renew(t.Context(), []string{id(0)}); !notWritten(err) {
			t.Errorf("renewed without leading: %v", err)
		}
		if _, err := c.l.Times([]string{id(0)}); !notWritten(err) {
			t.Errorf("times without leading: %v", err)
		}
		time.Sleep(time.Hour)
		from := time.Now()
		c.lead(7)
		c.endsAfter(id(1), from, 10*time.Second)
	})
}

// TestADeposedLeaderDoesNothing: no quorum confirms it, though it does not know yet that it is deposed.
func TestADeposedLeaderDoesNothing(t *testing.T) {
	inBubble(t, 20, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.set(func() { c.noQuorum = true })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := c.l.Renew(ctx, idsUpTo(20)); !notWritten(err) {
			t.Errorf("renewed without a quorum: %v", err)
		}
		if cmds := c.commands(); len(cmds) > 0 {
			t.Errorf("proposed %v", cmds)
		}
		c.lead(0)
	})
}

// TestNoRoundOfBeforeCounts: a round that was under way when the leases became due proves nothing.
func TestNoRoundOfBeforeCounts(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.renew(id(0))
		var before int
		c.set(func() { before = c.rounds })
		time.Sleep(11 * time.Second)
		c.set(func() {
			if c.rounds == before || len(c.proposed) != 1 {
				t.Errorf("%d rounds, %d proposals", c.rounds-before, len(c.proposed))
			}
		})
	})
}

// TestWhatBecomesDueInARoundAwaitsTheNext.
func TestWhatBecomesDueInARoundAwaitsTheNext(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.grant(id(1), 10200*time.Millisecond)
		time.Sleep(9 * time.Second)
		c.set(func() { c.slow = 400 * time.Millisecond })
		time.Sleep(2 * time.Second)
		cmds := c.commands()
		if len(cmds) != 2 || len(cmds[0].GetExpire().GetLeases()) != 1 || c.live() != 0 {
			t.Errorf("proposed %v", cmds)
		}
	})
}

// TestARoundOfALaterLeadership does not renew what came to the one before: another node led in between.
func TestARoundOfALaterLeadership(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.set(func() {
			c.within = func() {
				c.lead(0)
				c.put(id(0), nil) // another leader ended it
				c.lead(3)
			}
		})
		if lost, _, err := c.l.Renew(t.Context(), []string{id(0)}); !notWritten(err) {
			t.Errorf("lost %v, %v", lost, err)
		}
	})
}

// TestALeadershipEndsInTheRoundOfAnExpiry: what was due in it is not due in the next one.
func TestALeadershipEndsInTheRoundOfAnExpiry(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		var from time.Time
		time.Sleep(9 * time.Second)
		c.set(func() {
			c.within = func() {
				c.lead(0)
				time.Sleep(time.Second)
				c.lead(3)
				from = time.Now()
				c.renew(id(0))
			}
		})
		time.Sleep(3 * time.Second)
		c.set(func() {
			for _, cmd := range c.proposed {
				t.Errorf("proposed %v", cmd)
			}
		})
		c.endsAfter(id(0), from, 10*time.Second)
	})
}

// TestAnExpireOfAnEarlierLeadership: it was decided before another node led and renewed, and reaches the log after.
func TestAnExpireOfAnEarlierLeadership(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.set(func() {
			c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
				c.set(func() { c.propose = nil })
				c.lead(0)
				time.Sleep(time.Second)
				c.lead(3)
				from := time.Now()
				result := apply()
				c.renew(id(0))
				if c.live() != 1 {
					t.Error("the lease of the new leadership ended")
				}
				c.set(func() { c.leases[id(0)].Reason = from.Format(time.RFC3339Nano) })
				return result, nil
			}
		})
		time.Sleep(12 * time.Second)
		from, err := time.Parse(time.RFC3339Nano, c.Lease(id(0)).GetReason())
		if err != nil {
			t.Fatal(err)
		}
		c.endsAfter(id(0), from, 10*time.Second)
	})
}

// TestARenewalAwaitsTheExpire that is under way, and says what became of it.
func TestARenewalAwaitsTheExpire(t *testing.T) {
	for name, test := range map[string]struct {
		apply, lost, fails bool
		err                error
	}{
		"applied":                            {apply: true, lost: true},
		"surely not applied":                 {err: surelyNot{errUnknown}},
		"nobody knows, but the fold does":    {apply: true, lost: true, err: errUnknown},
		"nobody knows, and never applied":    {err: errUnknown, fails: true},
		"the fold has seen another revision": {},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				under := make(chan struct{})
				c.set(func() {
					c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
						c.set(func() { c.propose = nil })
						close(under)
						time.Sleep(3 * time.Second)
						if test.apply {
							apply()
						}
						return &logv1.Result{}, test.err
					}
				})
				<-under
				sent := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var lost []string
				waiting, err := []string{id(0)}, error(nil)
				last := sent
				for len(waiting) > 0 && err == nil {
					last = time.Now()
					lost, waiting, err = c.l.Renew(ctx, waiting)
				}
				if took := time.Since(sent); took < 3*time.Second {
					t.Errorf("answered after %s", took)
				}
				if (err != nil) != test.fails || (len(lost) > 0) != test.lost {
					t.Errorf("lost %v, %v", lost, err)
				}
				switch {
				case test.fails:
					if time.Since(sent) < 20*time.Second {
						t.Error("it did not wait for the leadership's end")
					}
					c.lead(2)
					lost, _, err := c.l.Renew(t.Context(), []string{id(0)})
					if err != nil || (len(lost) > 0) != test.apply {
						t.Errorf("the next leadership: lost %v, %v", lost, err)
					}
				case !test.lost:
					c.endsAfter(id(0), last, 10*time.Second)
				}
			})
		})
	}
}

// TestAnExpireDelaysNoOthers: who renews in the same call as a lease whose end is under way has its answer soon, however
// long the log takes.
func TestAnExpireDelaysNoOthers(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cluster) {
		under := make(chan struct{})
		c.set(func() {
			c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
				c.set(func() { c.propose = nil })
				close(under)
				time.Sleep(3 * time.Second)
				return apply(), nil
			}
		})
		time.Sleep(5 * time.Second)
		c.renew(id(1), id(2))
		<-under // of id(0)
		before := c.l.Stats().Renewals
		sent := time.Now()
		lost, waiting, err := c.l.Renew(t.Context(), []string{id(1), id(0), "never", id(2)})
		if took := time.Since(sent); took > 100*time.Millisecond {
			t.Errorf("answered after %s", took)
		}
		if !slices.Equal(lost, []string{"never"}) || !slices.Equal(waiting, []string{id(0)}) || err != nil {
			t.Errorf("lost %v, waiting %v, %v", lost, waiting, err)
		}
		if got := c.l.Stats().Renewals - before; got != 2 {
			t.Errorf("%d renewals are counted", got)
		}
		c.endsAfter(id(1), sent, 10*time.Second)
	})
}

// TestARenewalUnderWayHoldsOff: a lease does not end under a renewal that came in time, however long its round takes.
func TestARenewalUnderWayHoldsOff(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, c *cluster) {
		time.Sleep(9950 * time.Millisecond)
		c.set(func() { c.slow = 500 * time.Millisecond })
		sent := time.Now()
		c.renew(id(0))
		c.endsAfter(id(0), sent, 10*time.Second)
	})
}

func TestLeasesEndAThousandAtOnce(t *testing.T) {
	inBubbleWith(t, 2500, Guard{Min: 10, Percent: 100, Max: time.Hour}, func(t *testing.T, c *cluster) {
		time.Sleep(11 * time.Second)
		var sizes []int
		for _, cmd := range c.commands() {
			sizes = append(sizes, len(cmd.GetExpire().GetLeases()))
		}
		if len(sizes) != 3 || sizes[0] != 1000 || sizes[2] != 500 || c.live() != 0 {
			t.Errorf("commands of %v, %d live", sizes, c.live())
		}
		time.Sleep(10 * time.Second)
		if log := c.log.String(); strings.Count(log, "leases expired") > 2 || !strings.Contains(log, "leases=") {
			t.Errorf("the log says %s", log)
		}
	})
}

// TestAnExpireThatFailsIsTriedAgain: what cannot be proposed is tried again, and said once in a while.
func TestAnExpireThatFailsIsTriedAgain(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		c.set(func() {
			c.propose = func(context.Context, *logv1.Command, func() *logv1.Result) (*logv1.Result, error) {
				return nil, surelyNot{errUnknown}
			}
		})
		time.Sleep(40 * time.Second)
		if n := strings.Count(c.log.String(), "level=WARN"); n < 3 || n > 4 || len(c.commands()) < 250 {
			t.Errorf("%d proposals, %d lines", len(c.commands()), n)
		}
		c.set(func() { c.propose = nil })
		time.Sleep(time.Second)
		if c.live() != 0 {
			t.Error("the lease lives")
		}
	})
}

func TestTimes(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, c *cluster) {
		c.renew(id(1))
		time.Sleep(4100 * time.Millisecond)
		c.renew(id(0))
		times, err := c.l.Times([]string{id(1), "none", id(0)})
		if err != nil || len(times) != 3 || times[1].GetKnown() {
			t.Fatal(times, err)
		}
		if left := time.Duration(times[0].GetLeft()); left > 6*time.Second || left < 5800*time.Millisecond || !times[0].GetLate() {
			t.Errorf("of one that is late: %v", times[0])
		}
		if left := time.Duration(times[2].GetLeft()); left < 9900*time.Millisecond || times[2].GetLate() {
			t.Errorf("of one that was renewed: %v", times[2])
		}
	})
}
