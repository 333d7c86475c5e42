package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// once is an onWrite or onAnswer that fails the first call of any node with err.
func once(err error) func(context.Context, int) error {
	failed := false // calls come one after the other
	return func(context.Context, int) error {
		if failed {
			return nil
		}
		failed = true
		return err
	}
}

var lostAnswers = map[string]error{
	"the node does not know":        refusal(codes.Unknown, "OUTCOME_UNKNOWN", map[string]string{"written": "unknown"}),
	"the deadline of the attempt":   refusal(codes.DeadlineExceeded, "OUTCOME_UNKNOWN", map[string]string{"written": "unknown"}),
	"UNAVAILABLE, bare":             status.Error(codes.Unavailable, "error reading from server: EOF"),
	"a defect":                      refusal(codes.Internal, "INTERNAL", map[string]string{"written": "unknown"}),
	"RESOURCE_EXHAUSTED, bare":      status.Error(codes.ResourceExhausted, "received message larger than max"),
	"FAILED_PRECONDITION of nobody": status.Error(codes.FailedPrecondition, ""),
}

// TestLostAnswersAreAskedForAgain: done or not, a compare-and-set whose answer was lost is tried again
// as the same request, and takes effect once.
func TestLostAnswersAreAskedForAgain(t *testing.T) {
	for name, lost := range lostAnswers {
		for _, done := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := startBuffered(t, 3)
					if lose := once(lost); done {
						f.nodes[0].onAnswer = lose
					} else {
						f.nodes[0].onWrite = lose
					}
					zero := int64(0)
					resp, err := f.client(t).Set(within(t, 5*time.Second), "a", serving, client.WriteOptions{IfRevision: &zero})
					if err != nil || resp.GetRevision() != 1 {
						t.Errorf("got %v, %v", resp, err)
					}
					if calls, events := f.writes(); calls != 2 || events != 1 {
						t.Errorf("%d calls made %d events", calls, events)
					}
					a, b := f.nodes[0].seen("SetServingStatus")[0], f.nodes[1].seen("SetServingStatus")[0]
					if a.requestID == "" || a.requestID != b.requestID {
						t.Errorf("request ids %q and %q", a.requestID, b.requestID)
					}
				})
			})
		}
	}
}

// TestRefusalsAreAskedForAgain: the first answer was a refusal, and stays the answer although the same
// would now be allowed.
func TestRefusalsAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[0].onAnswer = func(context.Context, int) error {
			f.write(event{service: "a", status: serving})
			return status.Error(codes.Unavailable, "")
		}
		one := int64(1)
		e := failure(t, set(within(t, 5*time.Second), f.client(t), client.WriteOptions{IfRevision: &one}))
		if e.Written != client.WrittenNo || e.Reason != "REVISION_MISMATCH" || e.CurrentRevision != 0 {
			t.Errorf("got %+v", e)
		}
		if _, events := f.writes(); events != 1 {
			t.Errorf("%d events", events)
		}
	})
}

// TestAHungNodeKeepsNoWrite: it is asked elsewhere once the node has had its time.
func TestAHungNodeKeepsNoWrite(t *testing.T) {
	for hedge, want := range map[time.Duration]time.Duration{-1: 2 * time.Second, 0: 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 2)
			cfg := f.config()
			cfg.Hedge = hedge
			c := newClient(t, cfg)
			wantCheck(t, c, "", serving)
			f.do(func() { f.nodes[0].hung = true })
			began := time.Now()
			if err := set(within(t, 5*time.Second), c, client.WriteOptions{}); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
			f.do(func() { f.nodes[0].hung = false })
		})
	}
}

// TestDoubtStays: what is said later of another try alone proves nothing of the first.
func TestDoubtStays(t *testing.T) {
	for name, tc := range map[string]struct {
		then    error
		code    codes.Code
		message string
	}{
		"not written":       {refusal(codes.Unavailable, "NOT_WRITTEN", map[string]string{"written": "no"}), codes.DeadlineExceeded, "leadership lost"},
		"a limit":           {refusal(codes.ResourceExhausted, "LIMIT_REACHED", map[string]string{"written": "no"}), codes.Unknown, "limit_reached"},
		"permission denied": {refusal(codes.PermissionDenied, "X", nil), codes.Unknown, "leadership lost"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				st, _ := status.New(codes.Unknown, "leadership lost").WithDetails()
				f.nodes[0].onAnswer = once(st.Err())
				n := 0
				f.nodes[0].onWrite = func(context.Context, int) error {
					if n++; n > 1 {
						return tc.then
					}
					return nil
				}
				f.nodes[1].onWrite = func(context.Context, int) error { return tc.then }
				err := set(within(t, 5*time.Second), f.client(t), client.WriteOptions{RequestID: "r1"})
				e := failure(t, err)
				if e.Written != client.WrittenUnknown || e.Code != tc.code || e.Reason == "NOT_WRITTEN" ||
					!strings.Contains(err.Error(), tc.message) || !strings.Contains(err.Error(), "outcome unknown, request id r1") {
					t.Errorf("got %v, %v, reason %q: %v", e.Written, e.Code, e.Reason, err)
				}
			})
		})
	}
}

// TestAWriteInDoubtWaitsForNodes, unlike one that was surely not sent.
func TestAWriteInDoubtWaitsForNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		n := f.nodes[0]
		n.onAnswer = func(context.Context, int) error {
			f.do(func() { n.onAnswer = nil })
			go n.kill() // it waits for this call
			return status.Error(codes.Unavailable, "")
		}
		time.AfterFunc(20*time.Second, n.start)
		began := time.Now()
		if err := set(within(t, time.Minute), f.client(t), client.WriteOptions{}); err != nil || time.Since(began) < 20*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if _, events := f.writes(); events != 1 {
			t.Errorf("%d events", events)
		}
	})
}

// TestRepeatsEndBeforeTheWindow in which nodes remember.
func TestRepeatsEndBeforeTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		for _, n := range f.nodes {
			n.onAnswer = func(context.Context, int) error { return status.Error(codes.Unavailable, "") }
		}
		began := time.Now()
		err := set(context.Background(), f.client(t), client.WriteOptions{RequestID: "r1"})
		e := failure(t, err)
		if took := time.Since(began); took < 5*time.Minute || took > 6*time.Minute {
			t.Errorf("it took %v", took)
		}
		if e.Written != client.WrittenUnknown || e.Code != codes.Unavailable || errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "tried again for 5m0s; outcome unknown, request id r1") {
			t.Errorf("got %v", err)
		}
	})
}
