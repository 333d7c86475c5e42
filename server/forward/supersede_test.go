package forward

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// forwardBoth proposes one command by itself and one over a client's stream, and returns their errors when both have
// ended.
func (p *pair) forwardBoth(t *testing.T) (alone, streamed error) {
	t.Helper()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { _, alone = p.propose(within(t, time.Minute), 10) })
	calls := NewCalls(t.Context(), 10)
	call := &Call{ID: 1, Command: &logv1.Command{}, Deadline: time.Now().Add(time.Minute)}
	calls.Add([]*Call{call})
	p.router.Start([]*Call{call})
	answered, _ := calls.Next()
	for len(answered) == 0 {
		answered, _ = calls.Next()
	}
	_, streamed = answered[0].Result()
	calls.Sent(answered)
	calls.Close()
	calls.Next()
	both.Wait()
	return alone, streamed
}

// TestForwardedCallsEndWhenAnotherLeads: their caller learns soon that their outcome is unknown, whatever the one that
// led before does.
func TestForwardedCallsEndWhenAnotherLeads(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(p *pair) // one second later
		took time.Duration // 5 s: as long as a forwarded call may take
	}{
		"another member":                   {func(p *pair) { p.follower.elect("n3", false) }, time.Second + supersededGrace},
		"this one":                         {func(p *pair) { p.follower.elect("n1", true) }, time.Second + supersededGrace},
		"this one, whose term is to begin": {func(p *pair) { p.follower.elect("n1", false) }, time.Second + supersededGrace},
		"nobody":                           {func(p *pair) { p.follower.elect("", false) }, 5 * time.Second},
		"it was elected again":             {func(p *pair) { p.follower.elect("n2", false) }, 5 * time.Second},
		"nobody, then another": {func(p *pair) {
			p.follower.elect("", false)
			time.Sleep(time.Second)
			p.follower.elect("n3", false)
		}, 2*time.Second + supersededGrace},
		"another, then it again": {func(p *pair) {
			p.follower.elect("n3", false)
			time.Sleep(supersededGrace - 1)
			p.follower.elect("n2", false)
		}, 5 * time.Second},
		"another, then it again, then another": {func(p *pair) {
			p.follower.elect("n3", false)
			time.Sleep(supersededGrace - 1)
			p.follower.elect("n2", false)
			time.Sleep(time.Second)
			p.follower.elect("n3", false)
		}, 2*time.Second + 2*supersededGrace - 1},
		"another, which changes": {func(p *pair) {
			p.follower.elect("n3", false)
			time.Sleep(supersededGrace / 2)
			p.follower.elect("n3", false)
		}, time.Second + supersededGrace},
	} {
		for _, connected := range []bool{false, true} { // the stream's command is sent at once then
			t.Run(fmt.Sprintf("%s, connected %v", name, connected), func(t *testing.T) {
				withPair(t, func(t *testing.T, p *pair) {
					if connected {
						if _, err := p.propose(within(t, time.Minute), 10); err != nil {
							t.Fatal(err)
						}
					}
					p.silent.Store(true)
					go func() {
						time.Sleep(time.Second)
						tt.then(p)
					}()
					began := time.Now()
					alone, streamed := p.forwardBoth(t)
					if took := time.Since(began); took != tt.took {
						t.Errorf("they ended after %v, want %v", took, tt.took)
					}
					if !outcomeUnknown(alone) || !outcomeUnknown(streamed) {
						t.Errorf("alone %v; over a stream %v", alone, streamed)
					}
				})
			})
		}
	}
}

// TestTheLeaderBeforeStopsWorkingOnIt: it is told that nobody waits any more, so that when it goes on after a hang it
// proposes nothing old.
func TestTheLeaderBeforeStopsWorkingOnIt(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		var ended atomic.Int64
		p.leader.propose = func(ctx context.Context, _ *logv1.Command) (*logv1.Result, error) {
			<-ctx.Done()
			ended.Add(1)
			return nil, ctx.Err()
		}
		go func() {
			time.Sleep(time.Second)
			p.follower.elect("n3", false)
		}()
		began := time.Now()
		p.forwardBoth(t)
		if synctest.Wait(); ended.Load() != 2 || time.Since(began) > 2*time.Second {
			t.Errorf("it works on %d of 2 after %v", 2-ended.Load(), time.Since(began))
		}
	})
}

// TestALeaderThatHandsOverIsHeard: what it answers soon after another leads is the answer.
func TestALeaderThatHandsOverIsHeard(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		p.leader.propose = func(context.Context, *logv1.Command) (*logv1.Result, error) {
			time.Sleep(time.Second + supersededGrace - 1)
			return &logv1.Result{Revision: 7}, nil
		}
		go func() {
			time.Sleep(time.Second)
			p.follower.elect("n3", false)
		}()
		if alone, streamed := p.forwardBoth(t); alone != nil || streamed != nil {
			t.Errorf("alone %v; over a stream %v", alone, streamed)
		}
	})
}

// TestWhatWasNotSentGoesToTheNewLeader: the connection to the one before took no more.
func TestWhatWasNotSentGoesToTheNewLeader(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		stuck, goesOn := make(chan struct{}), make(chan struct{})
		p.wrap = func(c net.Conn) net.Conn { return &stuckConn{Conn: c, stuck: stuck, goesOn: goesOn} }
		if _, err := p.propose(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		close(stuck)
		go func() {
			time.Sleep(time.Second)
			p.follower.elect("n1", true)
		}()
		var all sync.WaitGroup
		var mu sync.Mutex
		done, unknown := 0, 0
		for range 10 { // the first ones fill gRPC's buffer, the last ones wait for room in it
			synctest.Wait()
			all.Go(func() {
				_, err := p.propose(within(t, time.Minute), 100<<10)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case outcomeUnknown(err):
					unknown++
				default:
					t.Error(err)
				}
			})
		}
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took > time.Second+supersededGrace+2*retryPause {
			t.Errorf("they ended after %v", took)
		}
		if done == 0 || unknown == 0 || done != p.follower.count() {
			t.Errorf("%d done, of %d the outcome is unknown, %d proposed", done, unknown, p.follower.count())
		}
		// Later commands to the same member go over a new stream, once it leads again.
		synctest.Wait()
		close(goesOn)
		p.follower.elect("n2", false)
		if _, err := p.propose(within(t, time.Minute), 10); err != nil {
			t.Errorf("to the first one again: %v", err)
		}
	})
}

// stuckConn takes no more from when stuck is closed until goesOn is, as a connection to a stopped process.
type stuckConn struct {
	net.Conn
	stuck, goesOn chan struct{}
}

func (c *stuckConn) Write(b []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.goesOn
	default:
	}
	return c.Conn.Write(b)
}
