package lessor

import (
	"context"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestAWriteRenews, also if it changes nothing; one that was not written does not.
func TestAWriteRenews(t *testing.T) {
	for name, written := range map[string]bool{"written": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				from := time.Now()
				time.Sleep(6 * time.Second)
				begun := time.Now()
				c.l.Hold(t.Context(), []string{id(0), "none"})(written)
				if written {
					from = begun
				}
				c.endsAfter(id(0), from, 10*time.Second)
			})
		})
	}
}

// TestAWriteHoldsOffTheExpire while it is under way.
func TestAWriteHoldsOffTheExpire(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, c *cluster) {
		time.Sleep(9 * time.Second)
		begun := time.Now()
		done := c.l.Hold(t.Context(), []string{id(0)})
		time.Sleep(4 * time.Second)
		if c.live() != 1 {
			t.Errorf("%d leases live while a write of one is under way", c.live())
		}
		done(true) // it changed nothing
		c.endsAfter(id(0), begun, 10*time.Second)
	})
}

// TestAWriteAwaitsTheExpire that is under way. Written before its outcome, a write that changes nothing would be
// acknowledged, and its lease end all the same.
func TestAWriteAwaitsTheExpire(t *testing.T) {
	for name, result := range map[string]*logv1.Result{
		"applied": nil,
		"refused": {Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				under := make(chan struct{})
				c.set(func() {
					c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
						c.set(func() { c.propose = nil })
						close(under)
						time.Sleep(time.Second)
						if result == nil {
							return apply(), nil
						}
						return result, nil
					}
				})
				<-under
				begun := time.Now()
				done := c.l.Hold(t.Context(), []string{id(0)})
				if time.Since(begun) < time.Second {
					t.Error("it did not wait")
				}
				if attached := c.attach(id(0)); attached != (result != nil) {
					t.Errorf("the write was done: %v", attached)
				}
				done(result != nil)
				if result != nil {
					c.endsAfter(id(0), time.Now(), 10*time.Second)
				}
			})
		})
	}
}

// TestAWriteWhoseProposerGaveUp is applied before the Expire, though nobody holds anything off any more.
func TestAWriteWhoseProposerGaveUp(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		time.Sleep(9 * time.Second)
		c.l.Hold(t.Context(), []string{id(0)})(false)
		c.set(func() {
			c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
				c.set(func() { c.propose = nil })
				c.attach(id(0))
				result := apply()
				if c.live() != 1 {
					t.Error("the lease ended under a report that had just been attached")
				}
				return result, nil
			}
		})
		time.Sleep(2 * time.Second)
		if c.live() != 0 {
			t.Error("the lease lives on for ever")
		}
	})
}

func TestHoldWithoutLeading(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, c *cluster) {
		done := c.l.Hold(t.Context(), []string{id(0)})
		c.lead(0)
		c.l.Hold(t.Context(), []string{id(0)})(true)
		time.Sleep(time.Hour)
		c.lead(2)
		begun := time.Now()
		time.Sleep(5 * time.Second)
		done(true) // of the leadership before
		c.endsAfter(id(0), begun, 10*time.Second)
	})
}

// waiter notes what it is told.
type waiter struct{ answers chan error }

func (w waiter) Answer(_ any, err error) { w.answers <- err }
func (w waiter) Flush()                  {}

// TestProposalsThatAreAnsweredLater hold off the end of their leases until they are, and renew them.
func TestProposalsThatAreAnsweredLater(t *testing.T) {
	for name, test := range map[string]struct {
		answer any
		err    error
		giveUp bool
		renews bool
	}{
		"written":             {answer: &logv1.Result{}, renews: true},
		"refused":             {answer: &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_RULE_BROKEN}}},
		"surely not written":  {err: surelyNot{errUnknown}},
		"nobody knows":        {err: errUnknown, renews: true},
		"nobody waits for it": {giveUp: true, renews: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				time.Sleep(8 * time.Second)
				begun := time.Now()
				w := waiter{make(chan error, 1)}
				p := &logv1.Proposal{Command: &logv1.Command{}, Waiter: w}
				if !c.l.HoldStarted(p, []string{id(0)}, nil) {
					t.Fatal("it waits, and no Expire is under way")
				}
				p.Send()
				time.Sleep(7 * time.Second)
				if c.live() != 1 {
					t.Error("the lease ended while the write was under way")
				}
				if test.giveUp {
					p.GiveUp()
				} else {
					p.Answer(test.answer, test.err)
					if err := <-w.answers; err != test.err {
						t.Errorf("the waiter was told %v", err)
					}
				}
				if test.renews {
					c.endsAfter(id(0), begun, 10*time.Second)
				} else {
					c.endsAfter(id(0), begun, 7*time.Second)
				}
				c.l.mu.Lock()
				defer c.l.mu.Unlock()
				if len(c.l.holds) > 0 {
					t.Error("a hold is left")
				}
			})
		})
	}
}

// TestAProposalAwaitsTheExpire that is under way, also if nobody ever learns its outcome.
func TestAProposalAwaitsTheExpire(t *testing.T) {
	for name, known := range map[string]bool{"applied": true, "the leadership ends": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, c *cluster) {
				under := make(chan struct{})
				c.set(func() {
					c.propose = func(_ context.Context, _ *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error) {
						c.set(func() { c.propose = nil })
						close(under)
						time.Sleep(time.Second)
						if known {
							return apply(), nil
						}
						c.lead(0)
						return nil, errUnknown
					}
				})
				<-under
				begun := time.Now()
				later := make(chan time.Duration, 1)
				p := &logv1.Proposal{Command: &logv1.Command{}, Waiter: waiter{make(chan error, 1)}}
				if c.l.HoldStarted(p, []string{id(0)}, func(*logv1.Proposal) { later <- time.Since(begun) }) {
					t.Error("it does not wait")
				}
				if took := <-later; took != time.Second {
					t.Errorf("it began after %s", took)
				}
			})
		})
	}
}
