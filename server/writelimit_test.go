package server

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/ratelimit"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

var rateLimited = want{codes.ResourceExhausted, rpcerror.ReasonRateLimited, rpcerror.WrittenNo, nil, "may make 10 changes a second on this node (--writes-per-second); try again in 100ms"}

// TestWritesPerSecond: a second's worth at once, then as many as come free, and the answer says when. Nothing that is
// refused is proposed.
func TestWritesPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		audit := openAudit(t)
		n := single(t, audit.use, func(cfg *Config) { cfg.WritesPerSecond = 10 })
		ctx, admin := patient(t), n.admin()
		for range 8 {
			if _, err := admin.SetServingStatus(ctx, setRequest("a", serving)); err != nil {
				t.Fatal(err)
			}
		}
		batch := &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{
			{Service: "a", Status: serving.Enum()}, {Service: "b", Status: serving.Enum()}, {Service: "c", Status: serving.Enum()},
		}}
		_, err := admin.BatchSetServingStatus(ctx, batch)
		checkError(t, err, rateLimited)
		if got := retryAfter(err); got != 100*time.Millisecond {
			t.Errorf("RetryInfo says %v", got)
		}
		if got := quotaOf(err); got != "writes-per-second" {
			t.Errorf("the quota is %q", got)
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := admin.BatchSetServingStatus(ctx, batch); err != nil {
			t.Errorf("after the time that RetryInfo names: %v", err)
		}
		if got := n.agreement.count(); got != 9 {
			t.Errorf("%d commands were proposed, want 9", got)
		}
		if got := n.RateLimited(); got != 1 {
			t.Errorf("%d changes were refused", got)
		}
		refused := 0
		for _, l := range audit.lines(t) {
			if l.Refusal == rpcerror.ReasonRateLimited && l.Outcome == "refused" && l.Identity == "anonymous" && l.NamesTotal == 0 && len(l.Names) == 3 {
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("%d lines of the refused change", refused)
		}
	})
}

// TestWritesPerSecondOfAStream: each write is refused alone.
func TestWritesPerSecondOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t, func(cfg *Config) { cfg.WritesPerSecond = 10 })
		ctx := timeout(t, time.Minute)
		stream := n.openWriteStream(t, ctx)
		var writes []*rollcallv1.StreamedWrite
		for i := range 12 {
			writes = append(writes, streamedSet(uint64(i+1), "a", serving))
		}
		writes = append(writes, &rollcallv1.StreamedWrite{Id: 13, Write: &rollcallv1.StreamedWrite_KeepAlive{KeepAlive: &rollcallv1.KeepAliveRequest{}}})
		sendWrites(t, stream, writes...)
		refused := 0
		for id, r := range answersOf(t, stream, len(writes)) {
			if err := errorIn(r); err != nil {
				refused++
				checkError(t, err, rateLimited)
				if id <= 10 || id == 13 {
					t.Errorf("write %d is refused", id)
				}
			}
		}
		if refused != 2 {
			t.Errorf("%d writes are refused, want 2", refused)
		}
	})
}

// TestWhoIsLimited: identities apart, callers without one by their address, and never an administrator of the node's
// own configuration.
func TestWhoIsLimited(t *testing.T) {
	change := func(a *logv1.Actor) *logv1.Command {
		return &logv1.Command{Actor: a, Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{}}}
	}
	a := &admin{limits: ratelimit.New(1)}
	for i, step := range []struct {
		actor   *logv1.Actor
		refused bool
	}{
		{&logv1.Actor{Name: "token:ci", Verified: true, Peer: "10.0.0.1:1"}, false},
		{&logv1.Actor{Name: "token:ci", Verified: true, Peer: "10.0.0.2:1"}, true},
		{&logv1.Actor{Name: "token:other", Verified: true, Peer: "10.0.0.2:1"}, false},
		{&logv1.Actor{Name: "token:ci", Peer: "10.0.0.3:1"}, false}, // says so, and proves nothing
		{&logv1.Actor{Name: "somebody else", Peer: "10.0.0.3:2"}, true},
		{&logv1.Actor{Peer: "10.0.0.4:1"}, false},
		{&logv1.Actor{Name: "10.0.0.5", Verified: true}, false}, // no identity is an address
		{&logv1.Actor{Peer: "10.0.0.5:1"}, false},
		{&logv1.Actor{Name: "static:root", Verified: true, StaticAdmin: true}, false},
		{&logv1.Actor{Name: "static:root", Verified: true, StaticAdmin: true}, false},
	} {
		if f := a.limit(change(step.actor)); (f != nil) != step.refused {
			t.Errorf("step %d, %v: %v", i, step.actor, f)
		}
	}
	if f := (&admin{}).limit(change(&logv1.Actor{})); f != nil {
		t.Errorf("without a limit: %v", f)
	}
}

func retryAfter(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
