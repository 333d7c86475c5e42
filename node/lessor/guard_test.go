package lessor

import (
	"strings"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// holds is how often the guard was engaged and ended.
func (c *cluster) holds() (engaged, ended int) {
	for _, cmd := range c.commands() {
		if h := cmd.GetHoldLeases(); h.GetEngaged() {
			engaged++
		} else if h != nil {
			ended++
		}
	}
	return engaged, ended
}

func (c *cluster) wantHolds(when string, engaged, ended int) {
	c.t.Helper()
	if a, b := c.holds(); a != engaged || b != ended {
		c.t.Errorf("%s the guard was engaged %d and ended %d times, want %d and %d; %v", when, a, b, engaged, ended, c.LeaseGuard())
	}
}

// TestTheGuardHoldsAMassLoss before the first of the leases expires, if they are renewed every third of their TTL,
// and ends by itself when their reporters are back.
func TestTheGuardHoldsAMassLoss(t *testing.T) {
	for name, every := range map[string]time.Duration{"a third": 3300 * time.Millisecond, "a fifth": 2 * time.Second} {
		for _, lost := range []int{102, 120, 160, 200} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, 200, func(t *testing.T, c *cluster) {
					rest := c.renewing(every, idsUpTo(200)[lost:]...)
					stop := c.renewing(every, idsUpTo(lost)...)
					time.Sleep(time.Minute)
					stop()
					time.Sleep(20 * time.Minute)
					c.wantHolds("while they are away,", 1, 0)
					if c.live() != 200 || !c.l.Stats().Engaged || c.l.Stats().Due != lost {
						t.Errorf("%d leases live, %+v", c.live(), c.l.Stats())
					}
					h := c.commands()[0].GetHoldLeases()
					if h.GetTerm() != 1 || h.GetLive() != 200 || h.GetLate() <= 100 || h.GetLate() > int64(lost) {
						t.Errorf("engaged with %v", h)
					}
					back := c.renewing(every, idsUpTo(lost)...)
					time.Sleep(20 * time.Second)
					c.wantHolds("when they are back,", 1, 1)
					time.Sleep(time.Minute)
					if c.live() != 200 {
						t.Errorf("%d leases live", c.live())
					}
					back()
					rest()
				})
			})
		}
	}
}

// TestTheGuardLetsFewExpire, one after the other.
func TestTheGuardLetsFewExpire(t *testing.T) {
	for name, test := range map[string]struct{ leases, lost int }{
		"a few of many":             {200, 40},
		"half":                      {200, 100},
		"all of fewer than Min":     {9, 9},
		"one that is all there was": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, test.leases, func(t *testing.T, c *cluster) {
				rest := c.renewing(3300*time.Millisecond, idsUpTo(test.leases)[test.lost:]...)
				time.Sleep(11 * time.Second)
				c.wantHolds("", 0, 0)
				if c.live() != test.leases-test.lost {
					t.Errorf("%d leases live", c.live())
				}
				rest()
			})
		})
	}
}

// TestTheGuardEndsAfterMax: reporters that do not come back were taken away. They expire, and the guard does not
// engage for them again, also under the next leader.
func TestTheGuardEndsAfterMax(t *testing.T) {
	inBubbleWith(t, 100, Guard{Min: 10, Percent: 50, Max: 10 * time.Minute}, func(t *testing.T, c *cluster) {
		rest := c.renewing(3*time.Second, idsUpTo(100)[70:]...)
		time.Sleep(5 * time.Minute)
		c.lead(2)
		time.Sleep(5 * time.Minute)
		c.wantHolds("before its time is over", 1, 0)
		if c.live() != 100 {
			t.Errorf("%d leases live", c.live())
		}
		time.Sleep(15 * time.Second)
		c.wantHolds("after it", 1, 1)
		if c.live() != 30 {
			t.Errorf("%d leases live after it", c.live())
		}
		if log := c.log.String(); strings.Count(log, "holds all leases") != 1 || strings.Count(log, "guard has ended") != 1 || !strings.Contains(log, "it has held them for 10m0s") {
			t.Errorf("the log says %s", log)
		}
		time.Sleep(time.Minute) // few are late
		rest()
		time.Sleep(15 * time.Second)
		c.wantHolds("at the next loss", 2, 1)
		if c.live() != 30 {
			t.Errorf("%d leases live after the next loss", c.live())
		}
	})
}

// TestTheGuardIsReleased by hand: what it held expires, whoever leads, and it does not engage for it again.
func TestTheGuardIsReleased(t *testing.T) {
	for name, elect := range map[string]bool{"the same leader": false, "another leader": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 100, func(t *testing.T, c *cluster) {
				rest := c.renewing(3*time.Second, idsUpTo(100)[70:]...)
				time.Sleep(time.Minute)
				c.wantHolds("before the release", 1, 0)
				c.set(func() {
					c.revision++
					now := time.Now().UnixNano()
					c.guard = &logv1.LeaseGuard{Time: now, Revision: c.revision, Late: c.guard.GetLate(), Live: c.guard.GetLive(), ReleaseTime: now, Actor: &logv1.Actor{Name: "ann"}}
				})
				wait := time.Second
				if elect {
					c.lead(2)
					wait = 11 * time.Second
				}
				time.Sleep(wait)
				c.wantHolds("after the release", 1, 0)
				if c.live() != 30 {
					t.Errorf("%d leases live", c.live())
				}
				if !elect && !strings.Contains(c.log.String(), "released by hand: leases expire again\" actor=ann") {
					t.Errorf("the log says %s", c.log.String())
				}
				time.Sleep(time.Minute)
				rest()
				time.Sleep(15 * time.Second)
				c.wantHolds("at the next loss", 2, 0)
			})
		})
	}
}

// TestRareRenewals: who renews at 0.9 of the TTL is late only when it is too late. Then what expired lately counts.
func TestRareRenewals(t *testing.T) {
	for name, lost := range map[string]int{"one is lost": 1, "all are lost": 100} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 100, func(t *testing.T, c *cluster) {
				rest := c.renewing(9*time.Second, idsUpTo(100)[lost:]...)
				stop := c.renewing(9*time.Second, idsUpTo(lost)...)
				time.Sleep(time.Minute)
				stop()
				time.Sleep(time.Minute)
				rest()
				engaged := 0
				if lost > 50 {
					engaged = 1
				}
				c.wantHolds("", engaged, 0)
				if gone := 100 - c.live(); gone < min(lost, 45) || gone > 55 {
					t.Errorf("%d leases expired", gone)
				}
			})
		})
	}
}

// TestRevokedLeasesAreNotCounted: reporters that end in order are no loss.
func TestRevokedLeasesAreNotCounted(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, c *cluster) {
		rest := c.renewing(3*time.Second, idsUpTo(100)[70:]...)
		time.Sleep(3 * time.Second)
		for i := range 60 {
			c.put(id(i), nil)
		}
		time.Sleep(15 * time.Second)
		c.wantHolds("", 0, 0)
		if c.live() != 30 {
			t.Errorf("%d leases live", c.live())
		}
		rest()
	})
}

// TestTheGuardStaysAcrossElections: a new leader has not heard of most leases yet. That is no sign that they are well.
func TestTheGuardStaysAcrossElections(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, c *cluster) {
		for i := range 100 {
			c.grant(id(i), time.Minute)
		}
		time.Sleep(61 * time.Second)
		c.wantHolds("at the loss", 1, 0)
		for term := range uint64(20) {
			c.lead(2 + term)
			time.Sleep(time.Duration(term) * time.Second)
		}
		c.wantHolds("across elections", 1, 0)
		back := c.renewing(20*time.Second, idsUpTo(100)...)
		time.Sleep(30 * time.Second)
		c.wantHolds("when they are back", 1, 1)
		back()
		if c.live() != 100 {
			t.Errorf("%d leases live", c.live())
		}
	})
}

// TestTheGuardNeedsAQuorum: a leader that is cut off does not take its own trouble for its reporters'.
func TestTheGuardNeedsAQuorum(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, c *cluster) {
		c.set(func() { c.noQuorum = true })
		time.Sleep(time.Minute)
		c.wantHolds("", 0, 0)
		c.lead(0)
	})
}

// TestLeasesWithoutReportsDoNotCountForTheGuard: a reporter that is killed and started again over and over leaves leases
// whose reports the next one has taken over. Their end changes nothing, so they hold nobody else's.
func TestLeasesWithoutReportsDoNotCountForTheGuard(t *testing.T) {
	inBubble(t, 12, func(t *testing.T, c *cluster) {
		c.mu.Lock()
		for i := range 40 {
			c.empty[id(100+i)] = true
		}
		c.mu.Unlock()
		rest := c.renewing(3300*time.Millisecond, idsUpTo(12)[:11]...) // and one dies
		for i := range 40 {
			c.grant(id(100+i), 10*time.Second)
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		c.wantHolds("", 0, 0)
		if c.live() != 11 {
			t.Errorf("%d leases live", c.live())
		}
		rest()
		time.Sleep(time.Minute) // all others are lost
		c.wantHolds("when the others are lost, too,", 1, 0)
		if h := c.commands()[len(c.commands())-1].GetHoldLeases(); c.live() != 11 || h.GetLive() != 11 {
			t.Errorf("%d leases live, engaged with %v", c.live(), h)
		}
	})
}
