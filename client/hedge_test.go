package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/client"
)

const (
	hedge       = 300 * time.Millisecond // Config.Hedge by default
	hedgeTokens = 10                     // so many hedges at first
)

// tookAbout compares with a time in which the pauses between rounds, which are random, add up to slack at most.
func tookAbout(t *testing.T, began time.Time, want, slack time.Duration) {
	t.Helper()
	if took := time.Since(began); took < want || took > want+slack {
		t.Errorf("took %v, want %v to %v", took, want, want+slack)
	}
}

// answerAfter makes a node's writes wait, and then be made or refused.
func answerAfter(d time.Duration, err error) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		lag(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}

// TestASecondAndAThirdEndpointAreAsked, each after as long a silence, and later calls start where the answer came from.
func TestASecondAndAThirdEndpointAreAsked(t *testing.T) {
	for hung := range 3 {
		for _, connected := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				c := f.client(t)
				if connected {
					wantCheck(t, c, "", serving)
				}
				f.do(func() {
					for _, n := range f.nodes[:hung] {
						n.hung = true
					}
				})
				began := time.Now()
				if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
					t.Error(err)
				}
				tookAbout(t, began, time.Duration(hung)*hedge, 0)
				began = time.Now()
				wantCheck(t, c, "a", serving)
				tookAbout(t, began, 0, 0)
				wantCalls(t, f.nodes[hung], "Check", map[bool]int{true: 1}[connected && hung == 0]+1)
				f.do(func() {
					for _, n := range f.nodes {
						n.hung = false
					}
				})
				synctest.Wait()
				if ids := f.requestIDs(); len(ids) != 1 {
					t.Errorf("request ids %v", ids)
				}
				if _, events := f.writes(); events != 1 {
					t.Errorf("%d events", events)
				}
			})
		}
	}
}

// requestIDs are those of all sets that any node received.
func (f *fakeCluster) requestIDs() map[string]int {
	ids := map[string]int{}
	for _, n := range f.nodes {
		for _, c := range n.seen("SetServingStatus") {
			ids[c.requestID]++
		}
	}
	return ids
}

// TestTheFirstAnswerCounts: whoever gives it, and the others are told that nobody waits for them any more.
func TestTheFirstAnswerCounts(t *testing.T) {
	for name, test := range map[string]struct {
		lags [3]time.Duration // of the nodes' answers
		want time.Duration
		from string
	}{
		"in time":               {[3]time.Duration{hedge - 1, 0, 0}, hedge - 1, "n1"},
		"at the last moment":    {[3]time.Duration{hedge + 50*time.Millisecond, 100 * time.Millisecond, 0}, hedge + 50*time.Millisecond, "n1"},
		"the second's":          {[3]time.Duration{time.Second, 100 * time.Millisecond, 0}, hedge + 100*time.Millisecond, "n2"},
		"the third's":           {[3]time.Duration{time.Second, time.Second, 0}, 2 * hedge, "n3"},
		"the second's, late":    {[3]time.Duration{time.Second, 500 * time.Millisecond, time.Second}, hedge + 500*time.Millisecond, "n2"},
		"the first's after all": {[3]time.Duration{900 * time.Millisecond, time.Second, time.Second}, 900 * time.Millisecond, "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				f.write(event{"a", serving, ""})
				var working atomic.Int64
				for i, n := range f.nodes {
					n.onRead = func(ctx context.Context, method string) error {
						working.Add(1)
						defer working.Add(-1)
						_ = grpc.SetHeader(ctx, metadata.Pairs("rollcall-node", n.name))
						lag(ctx, test.lags[i])
						return ctx.Err()
					}
				}
				c := f.client(t)
				began := time.Now()
				var info client.ReadInfo
				ctx := client.WithReadOptions(t.Context(), client.ReadOptions{MinRevision: 1, Info: &info})
				if _, err := c.Get(ctx, "a"); err != nil || info.Revision != 1 || info.Node != test.from {
					t.Errorf("%v; %+v", err, info)
				}
				tookAbout(t, began, test.want, 0)
				if synctest.Wait(); working.Load() != 0 {
					t.Errorf("%d nodes still work on it", working.Load())
				}
				f.do(func() {
					for _, n := range f.nodes {
						n.onRead = nil
					}
				})
				wantCheck(t, c, "a", serving)
				for _, n := range f.nodes {
					wantCalls(t, n, "Check", map[bool]int{true: 1}[n.name == test.from])
				}
			})
		})
	}
}

// TestARefusalBesideATryThatMayDoIt decides only if every try would get it. Else the other try does, once it ends.
func TestARefusalBesideATryThatMayDoIt(t *testing.T) {
	const late = 700 * time.Millisecond
	alone := refusal(codes.PermissionDenied, "DENIED", map[string]string{"written": "no"})
	all := refusal(codes.FailedPrecondition, "RULE_BROKEN", map[string]string{"written": "no"})
	nothing := refusal(codes.Unavailable, "NOT_WRITTEN", nil)
	doubt := refusal(codes.Unavailable, "OUTCOME_UNKNOWN", nil)
	for name, test := range map[string]struct {
		first  error         // of n1, late
		second error         // of n2, at once
		third  error         // of n3, at once
		want   string        // the call's error
		doubt  bool          // it is of unknown outcome
		took   time.Duration // and the pauses between rounds
		asked  [3]int        // in the first round
	}{
		"all would get it":                   {nil, all, nil, "rule_broken", false, hedge, [3]int{1, 1, 0}},
		"of one alone, and the other does":   {nil, alone, nil, "", false, late, [3]int{1, 1, 0}},
		"of one alone, and the other no":     {nothing, alone, nil, "denied", false, late, [3]int{1, 1, 0}},
		"of one alone, and the other too":    {alone, alone, nil, "denied", false, late, [3]int{1, 1, 0}},
		"of one alone, and the other late":   {all, alone, nil, "rule_broken", false, late, [3]int{1, 1, 0}},
		"of one alone, and doubt":            {doubt, alone, nil, "n2: fake: denied; request id", true, late, [3]int{1, 1, 0}},
		"not written here, done there":       {nil, nothing, nil, "", false, hedge, [3]int{1, 1, 1}},
		"doubt here, done there":             {nil, doubt, nil, "", false, hedge, [3]int{1, 1, 1}},
		"doubt here, of one alone there":     {nothing, doubt, alone, "n3: fake: denied; request id", true, late, [3]int{1, 1, 1}},
		"doubt here, all would get it":       {nothing, doubt, all, "rule_broken", false, hedge, [3]int{1, 1, 1}},
		"not written here, and of one alone": {doubt, nothing, alone, "n3: fake: denied; request id", true, late, [3]int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				for i, err := range []error{test.first, test.second, test.third} {
					f.nodes[i].onWrite = answerAfter([]time.Duration{late, 0, 0}[i], err)
				}
				began := time.Now()
				err := set(within(t, time.Minute), f.client(t), client.WriteOptions{})
				tookAbout(t, began, test.took, 0)
				switch {
				case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
					t.Errorf("got %v, want %s", err, test.want)
				case client.IsUnknown(err) != test.doubt, err != nil && client.IsNotWritten(err) == test.doubt:
					t.Errorf("%v: unknown %t", err, client.IsUnknown(err))
				}
				for i, n := range f.nodes {
					wantCalls(t, n, "SetServingStatus", test.asked[i])
				}
				if ids := f.requestIDs(); len(ids) != 1 {
					t.Errorf("request ids %v", ids)
				}
			})
		})
	}
}

// TestASilentEndpointHoldsNoRoundUp: the others are asked again while it is silent, and only the call's time ends it.
func TestASilentEndpointHoldsNoRoundUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		elected := time.Now().Add(900 * time.Millisecond)
		f.do(func() { f.nodes[0].hung = true })
		for _, n := range f.nodes[1:] {
			n.onWrite = func(ctx context.Context, _ int) error {
				if now := time.Now(); now.Before(elected) { // as a follower that forwarded it to a leader that hangs
					lag(ctx, elected.Sub(now))
					return refusal(codes.Unavailable, "OUTCOME_UNKNOWN", nil)
				}
				return nil
			}
		}
		began := time.Now()
		if err := set(within(t, 5*time.Second), f.client(t), client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		tookAbout(t, began, 900*time.Millisecond, 50*time.Millisecond)
		wantCalls(t, f.nodes[0], "SetServingStatus", 0) // it never spoke HTTP/2
		f.do(func() { f.nodes[0].hung = false })
	})
}

// TestSilenceThatEndsNeverIsUnknown: a hedged write whose time ends may have been done by any of those it asked.
func TestSilenceThatEndsNeverIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		c := f.client(t)
		for _, n := range f.nodes {
			n.onWrite = answerAfter(time.Hour, nil)
		}
		began := time.Now()
		err := set(within(t, time.Second), c, client.WriteOptions{})
		tookAbout(t, began, time.Second, 0)
		if !client.IsUnknown(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for _, n := range f.nodes {
			wantCalls(t, n, "SetServingStatus", 1)
		}
		// Before anything could be sent, it is surely not done.
		for _, n := range f.nodes {
			n.kill()
			f.do(func() { n.hung = true })
			n.start()
		}
		time.Sleep(time.Second)
		err = set(within(t, time.Second), c, client.WriteOptions{})
		if !client.IsNotWritten(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f.do(func() {
			for _, n := range f.nodes {
				n.hung = false
			}
		})
	})
}

// TestTheLastMomentOfAHedgedWrite: a try that one node did not take is not followed by one that cannot be answered in
// time, and those under way are waited for.
func TestTheLastMomentOfAHedgedWrite(t *testing.T) {
	const left = 20 * time.Millisecond
	for name, test := range map[string]struct {
		connected bool          // to n1, which then was sent the write
		answers   time.Duration // of n1
		want      string
	}{
		"nothing was sent":           {false, time.Hour, "not written"},
		"it may be done":             {true, time.Hour, "unknown"},
		"it is done at the last one": {true, hedge + left/2, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				c := f.client(t)
				if test.connected {
					wantCheck(t, c, "", serving)
				} else {
					f.do(func() { f.nodes[0].hung = true })
				}
				f.nodes[0].onWrite = answerAfter(test.answers, nil)
				f.nodes[1].onWrite = answerAfter(0, refusal(codes.Unavailable, "NOT_WRITTEN", nil))
				f.nodes[2].onWrite = answerAfter(time.Hour, nil)
				err := set(within(t, hedge+left), c, client.WriteOptions{})
				got := "done"
				switch {
				case client.IsUnknown(err):
					got = "unknown"
				case client.IsNotWritten(err):
					got = "not written"
				}
				if got != test.want || (err != nil) != errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", got, err)
				}
				wantCalls(t, f.nodes[2], "SetServingStatus", 0)
				f.do(func() { f.nodes[0].hung = false })
			})
		})
	}
}

// TestCloseEndsAHedgedCall, and so does its caller.
func TestCloseEndsAHedgedCall(t *testing.T) {
	for name, closes := range map[string]bool{"Close": true, "caller": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				for _, n := range f.nodes {
					n.onWrite = answerAfter(time.Hour, nil)
				}
				c := f.client(t)
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				time.AfterFunc(750*time.Millisecond, func() {
					if closes {
						c.Close()
					}
					cancel()
				})
				err := set(ctx, c, client.WriteOptions{})
				tookAbout(t, began, 750*time.Millisecond, 0)
				if !client.IsUnknown(err) || errors.Is(err, client.ErrClosed) != closes {
					t.Error(err)
				}
			})
		})
	}
}

// TestAPauseBetweenHedgedRoundsEndsWithTheCall.
func TestAPauseBetweenHedgedRoundsEndsWithTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[0].onWrite = answerAfter(310*time.Millisecond, refusal(codes.Unavailable, "NOT_WRITTEN", nil))
		f.nodes[1].onWrite = answerAfter(0, refusal(codes.Unavailable, "NOT_WRITTEN", nil))
		began := time.Now()
		err := set(within(t, 315*time.Millisecond), f.client(t), client.WriteOptions{})
		tookAbout(t, began, 310*time.Millisecond, 5*time.Millisecond)
		if !client.IsNotWritten(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestAHedgedWriteIsForOneCluster: another one, which does not know its request id, is not asked to do it.
func TestAHedgedWriteIsForOneCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.do(func() { f.nodes[1].stray = "b00c" })
		f.nodes[0].onWrite = answerAfter(time.Second, nil)
		began := time.Now()
		if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		tookAbout(t, began, time.Second, 0)
		if got := f.nodes[1].seen("SetServingStatus"); len(got) != 1 || got[0].clusterID != "3f9a" {
			t.Errorf("n2 got %+v", got)
		}
		if got := f.nodes[0].seen("SetServingStatus")[1]; got.clusterID != "" {
			t.Errorf("the first try was for %s", got.clusterID)
		}
	})
}

// TestWorkForAllNodesIsNotHedged.
func TestWorkForAllNodesIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.do(func() { f.nodes[0].hung = true })
		began := time.Now()
		_, err := f.client(t).Verify(t.Context())
		if e := failure(t, err); e.Code != codes.Unimplemented { // the fake's
			t.Error(err)
		}
		tookAbout(t, began, 2*time.Second, 0)
		f.do(func() { f.nodes[0].hung = false })
	})
}

// TestEndpointsThatCannotBeConnectedTo: one that accepts connections and says nothing, beside others that refuse, is
// waited for as long as AttemptTimeout.
func TestEndpointsThatCannotBeConnectedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.do(func() { f.nodes[0].hung = true })
		f.nodes[1].kill()
		f.nodes[2].kill()
		began := time.Now()
		err := set(t.Context(), f.client(t), client.WriteOptions{})
		if e := failure(t, err); e.Reason != client.ReasonNoEndpoint || !client.IsNotWritten(err) {
			t.Error(err)
		}
		tookAbout(t, began, 2*time.Second, 0)
		for _, n := range f.nodes {
			if !strings.Contains(err.Error(), n.name) {
				t.Errorf("%v does not name %s", err, n.name)
			}
		}
		if want := fmt.Sprintf("no connection within %v", 2*time.Second); !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		f.do(func() { f.nodes[0].hung = false })
	})
}
