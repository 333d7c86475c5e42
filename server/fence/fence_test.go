package fence

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func refusal(message string) *rpcerror.Failure {
	return &rpcerror.Failure{Reason: rpcerror.ReasonDiverged, Message: message}
}

func TestAFenceThatIsDown(t *testing.T) {
	for name, f := range map[string]*Fence{"new": New(), "none": nil} {
		if f.Refusal() != nil {
			t.Errorf("%s: it refuses with %v", name, f.Refusal())
		}
		if err := f.RefusalOf("payments"); err != nil {
			t.Errorf("%s: a name is refused: %v", name, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := f.OnRaise(cancel)
		stop()
		if ctx.Err() != nil {
			t.Errorf("%s: what follows has ended: %v", name, context.Cause(ctx))
		}
		cancel(nil)
	}
}

// TestARaisedFence refuses everything but the node's own names, with the first reason, and for ever.
func TestARaisedFence(t *testing.T) {
	f := New()
	first := refusal("first")
	f.Raise(first)
	f.Raise(refusal("second"))
	if f.Refusal() != first {
		t.Errorf("it refuses with %v", f.Refusal())
	}
	for _, name := range []string{"payments", "rollcal", "Rollcall.live"} {
		if got := f.RefusalOf(name); got != first {
			t.Errorf("%q: %v", name, got)
		}
	}
	for _, name := range []string{"", rollcallv1.OwnLive, rollcallv1.OwnReads} {
		if err := f.RefusalOf(name); err != nil {
			t.Errorf("the node's own name %q: %v", name, err)
		}
	}
}

// TestRaisingEndsWhatFollows: what follows the registry ends with the refusal, also if it began too late; what
// has stopped following does not.
func TestRaisingEndsWhatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New()
		why := refusal("differs")
		follow := func() (context.Context, func() bool) {
			ctx, cancel := context.WithCancelCause(t.Context())
			return ctx, f.OnRaise(cancel)
		}
		before, _ := follow()
		stopped, stop := follow()
		if !stop() {
			t.Error("it cannot be stopped")
		}
		f.Raise(why)
		after, _ := follow()
		for name, ctx := range map[string]context.Context{"before": before, "after": after} {
			<-ctx.Done()
			if got := (*rpcerror.Failure)(nil); !errors.As(context.Cause(ctx), &got) || got != why {
				t.Errorf("%s: it ended with %v", name, context.Cause(ctx))
			}
		}
		synctest.Wait()
		if stopped.Err() != nil {
			t.Error("what had stopped following has ended")
		}
	})
}
