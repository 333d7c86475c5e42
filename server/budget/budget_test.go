package budget

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quota(t *testing.T, f *rpcerror.Failure) string {
	t.Helper()
	st := status.Convert(rpcerror.ToStatus("n1", f))
	if st.Code() != codes.ResourceExhausted {
		t.Fatalf("got %v, want RESOURCE_EXHAUSTED", st)
	}
	for _, d := range st.Details() {
		if q, ok := d.(*errdetails.QuotaFailure); ok {
			return q.GetViolations()[0].GetSubject()
		}
	}
	t.Fatalf("%v names no quota", st)
	return ""
}

func TestBudget(t *testing.T) {
	b := New("answers", 100, 60, nil)
	one, two := &peer.Peer{}, &peer.Peer{}
	if f := b.Take(one, 60); f != nil {
		t.Fatal(f)
	}
	if got := quota(t, b.Take(one, 1)); got != "answers-per-connection" {
		t.Errorf("a connection over its part: %q", got)
	}
	if got := quota(t, b.Take(two, 41)); got != "answers" {
		t.Errorf("the node over its budget: %q", got)
	}
	if got := quota(t, b.Take(nil, 41)); got != "answers" {
		t.Errorf("over its budget, without a connection: %q", got)
	}
	if !b.TryTake(two, 40) || b.TryTake(two, 1) {
		t.Error("what is left can be taken, and no more")
	}
	if used, limit, refused := b.Use(); used != 100 || limit != 100 || refused != 3 {
		t.Errorf("used %d of %d, %d refused", used, limit, refused)
	}
	b.Give(one, 20)
	if !b.TryTake(nil, 20) {
		t.Error("what was given back cannot be taken")
	}
	b.Give(one, 40)
	b.Give(two, 40)
	b.Give(nil, 20)
	if used, _, _ := b.Use(); used != 0 || b.known.Load() != 0 {
		t.Errorf("%d bytes are used and %d connections known when all is given back", used, b.known.Load())
	}
	if b.Fits(61) || !b.Fits(60) {
		t.Error("what fits is what one connection may take")
	}
}

// TestAConnectionThatEndedHoldsNothing: gRPC does not say that the rest of its messages are gone.
func TestAConnectionThatEndedHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, there := &peer.Peer{}, &peer.Peer{}
		ended := false
		b := New("answers", 100, 60, func(p *peer.Peer) bool { return p == gone && ended })
		if !b.TryTake(gone, 60) || !b.TryTake(there, 40) || b.TryTake(there, 10) {
			t.Fatal("what fits is taken, and no more")
		}
		ended = true
		time.Sleep(sweepEvery)
		if !b.TryTake(there, 10) {
			t.Error("a connection that has ended keeps its part")
		}
		b.Give(gone, 60) // after all
		if used, _, _ := b.Use(); used != 50 {
			t.Errorf("%d bytes are used, want 50", used)
		}
	})
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	b := New("writes", 1_000, 100, nil)
	var all sync.WaitGroup
	for range 20 {
		connection := &peer.Peer{}
		all.Go(func() {
			for range 1_000 {
				if b.TryTake(connection, 70) {
					if used, _, _ := b.Use(); used > 1_000 {
						t.Errorf("%d bytes are used", used)
					}
					b.Give(connection, 70)
				}
			}
		})
	}
	all.Wait()
	if used, _, _ := b.Use(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}

// TestWhoHoldsMostIsCutOff rather than that another one is refused, if the budget may.
func TestWhoHoldsMostIsCutOff(t *testing.T) {
	b := New("answers", 100, 60, nil)
	var cut []*peer.Peer
	can := true
	b.CutLargest(func(p *peer.Peer) bool {
		if can {
			cut = append(cut, p)
		}
		return can
	})
	small, large, medium, asking := &peer.Peer{}, &peer.Peer{}, &peer.Peer{}, &peer.Peer{}
	for p, bytes := range map[*peer.Peer]int64{small: 10, large: 50, medium: 40} {
		if !b.TryTake(p, bytes) {
			t.Fatal("what fits is not taken")
		}
	}
	if !b.TryTake(asking, 20) || len(cut) != 1 || cut[0] != large {
		t.Errorf("cut off are %d connections, first the largest: %t", len(cut), len(cut) > 0 && cut[0] == large)
	}
	if used, _, refused := b.Use(); used != 70 || refused != 1 {
		t.Errorf("%d bytes are used, %d were refused", used, refused)
	}
	b.Give(large, 50) // it ends
	if used, _, _ := b.Use(); used != 70 {
		t.Errorf("%d bytes are used when what was cut off has ended", used)
	}
	if !b.TryTake(&peer.Peer{}, 31) || len(cut) != 2 || cut[1] != medium {
		t.Errorf("cut off are %d connections", len(cut))
	}
	if !b.TryTake(asking, 30) || !b.TryTake(small, 9) || len(cut) != 2 {
		t.Error("what fits is not taken, or others are cut off for it")
	}
	if f := b.Take(asking, 5); f == nil || len(cut) != 2 {
		t.Error("the largest is not refused, or cuts off others")
	}
	can = false
	if got := quota(t, b.Take(small, 35)); got != "answers" {
		t.Errorf("when nobody can be cut off: %q", got)
	}
}

// TestConnectionsAreForgotten: those that come and go leave nothing, also while nobody asks for the use.
// TestCuttingBesideTakers: who is cut off in the middle of taking takes nothing from the budget, and leaves
// nothing in it.
func TestCuttingBesideTakers(t *testing.T) {
	b := New("answers", 100, 60, nil)
	b.CutLargest(func(*peer.Peer) bool { return true })
	var all sync.WaitGroup
	for i := range 8 {
		connection := &peer.Peer{}
		all.Go(func() {
			for range 20_000 {
				if b.TryTake(connection, int64(20+5*i)) {
					runtime.Gosched() // so that the budget is used up most of the time
					b.Give(connection, int64(20+5*i))
				}
			}
		})
	}
	all.Wait()
	if used, _, _ := b.Use(); used != 0 {
		t.Errorf("%d bytes are used when all is given back", used)
	}
}

func TestConnectionsAreForgotten(t *testing.T) {
	b := New("writes", 1_000, 100, nil)
	stays := &peer.Peer{}
	b.TryTake(stays, 70)
	for range 100_000 {
		connection := &peer.Peer{}
		if !b.TryTake(connection, 70) {
			t.Fatal("a connection finds no room")
		}
		b.Give(connection, 70)
		if b.known.Load() > 2*minSweep {
			t.Fatalf("%d connections are known", b.known.Load())
		}
	}
	if b.TryTake(stays, 31) || !b.TryTake(stays, 30) {
		t.Error("what a connection has taken is forgotten")
	}
}

// TestSweepingBesideTakers: what is taken while connections are forgotten is counted once.
func TestSweepingBesideTakers(t *testing.T) {
	b := New("writes", 1_000, 100, nil)
	connection := &peer.Peer{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5_000 {
				if b.TryTake(connection, 60) {
					// What another gives back may still count: it is taken off its connection first.
					if used, _, _ := b.Use(); used < 60 || used > 4*60 {
						t.Errorf("%d bytes are used", used)
					}
					b.Give(connection, 60)
				}
			}
		})
	}
	all.Wait()
	if used, _, _ := b.Use(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}

func TestTakingAllocatesNothing(t *testing.T) {
	b := New("writes", 1_000, 100, nil)
	connection := &peer.Peer{}
	b.TryTake(connection, 1)
	if n := testing.AllocsPerRun(100, func() { b.TryTake(connection, 70); b.Give(connection, 70) }); n > 0 {
		t.Errorf("a write allocates %v times", n)
	}
}
