package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func set(ctx context.Context, c *client.Client, o client.WriteOptions) error {
	_, err := c.Set(ctx, "a", serving, o)
	return err
}

// writes counts the calls of Set that any node received, and the events they made.
func (f *fakeCluster) writes() (calls, events int) {
	for _, n := range f.nodes {
		calls += len(n.seen("SetServingStatus"))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return calls, len(f.events)
}

func TestNotWrittenIsTriedAgainWithTheSameRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[0].onWrite = func(context.Context, int) error { return refusal(codes.Unavailable, "NOT_WRITTEN", nil) }
		f.nodes[1].onWrite = func(_ context.Context, n int) error {
			if n < 3 {
				return refusal(codes.Unavailable, "NOT_WRITTEN", nil)
			}
			return nil
		}
		cfg := f.config()
		cfg.Actor = "deploy-bot"
		if err := set(t.Context(), newClient(t, cfg), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if calls, events := f.writes(); calls != 6 || events != 1 {
			t.Errorf("got %d calls and %d events, want 6 and 1", calls, events)
		}
		seen := append(f.nodes[0].seen("SetServingStatus"), f.nodes[1].seen("SetServingStatus")...)
		for _, s := range seen {
			if s.requestID == "" || s.requestID != seen[0].requestID || s.actor != "deploy-bot" {
				t.Errorf("a try had request id %q of %q, the first %q", s.requestID, s.actor, seen[0].requestID)
			}
		}
	})
}

func TestNotWrittenUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error { return refusal(codes.Unavailable, "NOT_WRITTEN", nil) }
		}
		err := set(within(t, 5*time.Second), f.client(t), client.WriteOptions{RequestID: "r1"})
		e := failure(t, err)
		if e.Written != client.WrittenNo || e.Reason != "NOT_WRITTEN" || e.Code != codes.DeadlineExceeded || e.RequestID != "r1" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %+v", e)
		}
	})
}

// Outcomes of one write whose tries all end so. Only what settles nothing is tried again: until the
// deadline, or on each endpoint once if time would not help.
func TestOutcomes(t *testing.T) {
	answer := func(err error) func(*fakeNode) func(context.Context, int) error {
		return func(*fakeNode) func(context.Context, int) error {
			return func(context.Context, int) error { return err }
		}
	}
	const many = -1
	tests := map[string]struct {
		onWrite func(*fakeNode) func(context.Context, int) error
		written client.Written
		code    codes.Code
		tries   int
	}{
		"the connection breaks": {func(n *fakeNode) func(context.Context, int) error {
			return func(ctx context.Context, _ int) error { n.breakConnections(); <-ctx.Done(); return ctx.Err() }
		}, client.WrittenUnknown, codes.DeadlineExceeded, many},
		"the deadline passes": {func(*fakeNode) func(context.Context, int) error {
			return func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		}, client.WrittenUnknown, codes.DeadlineExceeded, many},
		"the node notices the deadline first":   {answer(refusal(codes.DeadlineExceeded, "OUTCOME_UNKNOWN", nil)), client.WrittenUnknown, codes.DeadlineExceeded, many},
		"the node says unknown":                 {answer(refusal(codes.Unknown, "OUTCOME_UNKNOWN", nil)), client.WrittenUnknown, codes.DeadlineExceeded, many},
		"the node says unknown, in an odd code": {answer(refusal(codes.InvalidArgument, "X", map[string]string{"written": "unknown"})), client.WrittenUnknown, codes.InvalidArgument, 3},
		"a defect":                              {answer(refusal(codes.Internal, "INTERNAL", nil)), client.WrittenUnknown, codes.Internal, 3},
		"UNAVAILABLE, bare":                     {answer(status.Error(codes.Unavailable, "")), client.WrittenUnknown, codes.DeadlineExceeded, many},
		"UNAVAILABLE, another reason":           {answer(refusal(codes.Unavailable, "STOPPING", nil)), client.WrittenUnknown, codes.DeadlineExceeded, many},
		"FAILED_PRECONDITION, bare":             {answer(status.Error(codes.FailedPrecondition, "")), client.WrittenUnknown, codes.FailedPrecondition, 3},
		"RESOURCE_EXHAUSTED, bare":              {answer(status.Error(codes.ResourceExhausted, "")), client.WrittenUnknown, codes.ResourceExhausted, 3},
		"RESOURCE_EXHAUSTED":                    {answer(refusal(codes.ResourceExhausted, "LIMIT_REACHED", nil)), client.WrittenNo, codes.ResourceExhausted, 1},
		"INVALID_ARGUMENT":                      {answer(refusal(codes.InvalidArgument, "INVALID_ARGUMENT", nil)), client.WrittenNo, codes.InvalidArgument, 1},
		"NOT_FOUND":                             {answer(refusal(codes.NotFound, "NOT_FOUND", nil)), client.WrittenNo, codes.NotFound, 1},
		"OUT_OF_RANGE":                          {answer(refusal(codes.OutOfRange, "X", nil)), client.WrittenNo, codes.OutOfRange, 1},
		"PERMISSION_DENIED":                     {answer(refusal(codes.PermissionDenied, "X", nil)), client.WrittenNo, codes.PermissionDenied, 1},
		"UNIMPLEMENTED, bare":                   {answer(status.Error(codes.Unimplemented, "")), client.WrittenNo, codes.Unimplemented, 1},
		"a code to come, said to be no write":   {answer(refusal(codes.Aborted, "X", map[string]string{"written": "no"})), client.WrittenNo, codes.Aborted, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 3)
				for _, n := range f.nodes {
					n.onWrite = test.onWrite(n)
				}
				err := set(within(t, 5*time.Second), f.client(t), client.WriteOptions{RequestID: "r1"})
				e := failure(t, err)
				if e.Written != test.written || e.Code != test.code || e.RequestID != "r1" {
					t.Errorf("got written %v, %v, request id %q: %v", e.Written, e.Code, e.RequestID, err)
				}
				if calls, _ := f.writes(); calls != test.tries && (test.tries != many || calls < 3) {
					t.Errorf("it was sent %d times", calls)
				}
				if said := strings.Contains(err.Error(), "request id r1"); said != (e.Written == client.WrittenUnknown) {
					t.Errorf("error %q", err)
				}
				if timely := errors.Is(err, context.DeadlineExceeded); timely != (test.code == codes.DeadlineExceeded) {
					t.Errorf("errors.Is(DeadlineExceeded) is %v", timely)
				}
			})
		})
	}
}

func TestRevisionMismatchTellsTheRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving}, event{service: "a", status: notServing})
		expected := int64(1)
		e := failure(t, set(t.Context(), f.client(t), client.WriteOptions{IfRevision: &expected}))
		if e.Written != client.WrittenNo || e.Code != codes.FailedPrecondition || e.Reason != "REVISION_MISMATCH" || e.CurrentRevision != 2 {
			t.Errorf("got %+v", e)
		}
		var info *errdetails.ErrorInfo
		for _, d := range status.Convert(e).Details() {
			info, _ = d.(*errdetails.ErrorInfo)
		}
		if info.GetReason() != "REVISION_MISMATCH" {
			t.Errorf("the status lost its details")
		}
	})
}

// A real break on real sockets: the process dies with the request in hand, which is done or not.
func TestNodeDiesWithWriteInHand(t *testing.T) {
	f, err := startLoopback(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	dies := f.nodes[0]
	die := func(ctx context.Context, _ int) error { dies.breakConnections(); <-ctx.Done(); return ctx.Err() }
	cfg := client.DefaultConfig()
	cfg.KeepOrder = true
	cfg.Endpoints = []string{f.nodes[0].name, f.nodes[1].name}
	for i, set := range []func(){func() { dies.onWrite = die }, func() { dies.onWrite, dies.onAnswer = nil, die }} {
		f.do(set)
		c := newClient(t, cfg)
		zero := int64(0)
		if _, err := c.Set(t.Context(), fmt.Sprint(i), serving, client.WriteOptions{IfRevision: &zero}); err != nil {
			t.Error(err)
		}
		if calls, events := f.writes(); calls != 2*(i+1) || events != i+1 {
			t.Errorf("%d calls made %d events", calls, events)
		}
	}
}

func TestWriteMovesOnWhileItIsSurelyNotSent(t *testing.T) {
	for name, disable := range map[string]func(*fakeCluster){
		"refused": func(f *fakeCluster) { f.nodes[0].kill() },
		"hung":    func(f *fakeCluster) { f.do(func() { f.nodes[0].hung = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				disable(f)
				if err := set(within(t, 5*time.Second), f.client(t), client.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
				wantCalls(t, f.nodes[1], "SetServingStatus", 1)
			})
		})
	}
}

func TestDeadlineBeforeSendingIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.do(func() { f.nodes[0].hung = true })
		err := set(within(t, time.Second), f.client(t), client.WriteOptions{})
		e := failure(t, err)
		if e.Written != client.WrittenNo || e.Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %+v: %v", e, err)
		}
	})
}

func TestAfterAnUnknownOutcomeCallsStartElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		cfg := f.config()
		cfg.Hedge = -1
		c := newClient(t, cfg)
		wantCheck(t, c, "", serving)
		f.do(func() { f.nodes[0].hung = true })
		// Too short a time for another try.
		e := failure(t, set(within(t, time.Second), c, client.WriteOptions{}))
		if e.Written != client.WrittenUnknown {
			t.Errorf("got %+v", e)
		}
		began := time.Now()
		if err := set(t.Context(), c, client.WriteOptions{}); err != nil || time.Since(began) != 0 {
			t.Errorf("the next write: %v after %v", err, time.Since(began))
		}
		f.do(func() { f.nodes[0].hung = false })
	})
}

// gRPC's own RESOURCE_EXHAUSTED is no refusal: the write was done.
func TestAnswerTooLargeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		cfg := f.config()
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1)))
		e := failure(t, set(t.Context(), newClient(t, cfg), client.WriteOptions{}))
		if _, events := f.writes(); e.Written != client.WrittenUnknown || events != 1 {
			t.Errorf("got %+v, %d events", e, events)
		}
	})
}

func TestRequestTooLargeIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		cfg := f.config()
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1)))
		e := failure(t, set(t.Context(), newClient(t, cfg), client.WriteOptions{}))
		if e.Written != client.WrittenNo || e.Code != codes.ResourceExhausted {
			t.Errorf("got %+v", e)
		}
	})
}

// Without proof that nothing was sent the outcome is unknown, also when an interceptor hides it.
func TestInterceptorThatHidesTheCallIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		for _, n := range f.nodes {
			n.onWrite = func(context.Context, int) error { return status.Error(codes.Unavailable, "") }
		}
		cfg := f.config()
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithUnaryInterceptor(
			func(_ context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				return invoker(context.Background(), method, req, reply, cc, opts...)
			}))
		e := failure(t, set(within(t, 5*time.Second), newClient(t, cfg), client.WriteOptions{}))
		if e.Written != client.WrittenUnknown || e.Code != codes.DeadlineExceeded {
			t.Errorf("got %+v", e)
		}
	})
}

func TestDryRunIsRepeatedLikeARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.nodes[0].onWrite = func(context.Context, int) error { return status.Error(codes.Unavailable, "") }
		if err := set(t.Context(), f.client(t), client.WriteOptions{DryRun: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.client(t).Delete(t.Context(), "a", client.WriteOptions{DryRun: true, AllowMissing: true}); err != nil {
			t.Fatal(err)
		}
		if calls, events := f.writes(); calls != 2 || events != 0 {
			t.Errorf("got %d calls, %d events", calls, events)
		}
	})
}

// TestOptionsThatWouldBeIgnoredAreRefused: every change with every option that it does not have.
func TestOptionsThatWouldBeIgnoredAreRefused(t *testing.T) {
	options := map[string]client.WriteOptions{
		"IfRevision":   {IfRevision: new(int64)},
		"AllowMissing": {AllowMissing: true},
		"BreakGlass":   {BreakGlass: []string{"*"}, Reason: "why"},
		"TTL":          {TTL: time.Minute},
		"LeaseID":      {LeaseID: "1"},
	}
	ctx, c := t.Context(), newClient(t, client.DefaultConfig()) // which could not connect
	changes := map[string]struct {
		do  func(o client.WriteOptions) error
		has []string
	}{
		"Set": {func(o client.WriteOptions) error { return set(ctx, c, o) }, []string{"IfRevision", "BreakGlass", "LeaseID"}},
		"SetBatch": {func(o client.WriteOptions) error {
			_, err := c.SetBatch(ctx, []client.Change{{Service: "a"}}, o)
			return err
		}, []string{"BreakGlass", "LeaseID"}},
		"Delete":        {func(o client.WriteOptions) error { _, err := c.Delete(ctx, "a", o); return err }, []string{"IfRevision", "AllowMissing", "BreakGlass", "LeaseID"}},
		"SetOverride":   {func(o client.WriteOptions) error { _, err := c.SetOverride(ctx, "a", serving, o); return err }, []string{"IfRevision", "BreakGlass", "TTL"}},
		"ClearOverride": {func(o client.WriteOptions) error { _, err := c.ClearOverride(ctx, "a", o); return err }, []string{"IfRevision", "AllowMissing", "BreakGlass"}},
		"Shutdown":      {func(o client.WriteOptions) error { _, err := c.Shutdown(ctx, o); return err }, []string{"IfRevision", "BreakGlass", "TTL"}},
		"Resume":        {func(o client.WriteOptions) error { _, err := c.Resume(ctx, o); return err }, []string{"IfRevision", "AllowMissing", "BreakGlass"}},
		"SetRule":       {func(o client.WriteOptions) error { _, err := c.SetRule(ctx, client.Rule{Name: "r"}, o); return err }, []string{"IfRevision"}},
		"RemoveRule":    {func(o client.WriteOptions) error { _, err := c.RemoveRule(ctx, "r", o); return err }, []string{"IfRevision", "AllowMissing"}},
		"GrantLease": {func(o client.WriteOptions) error {
			_, err := c.GrantLease(ctx, client.LeaseOptions{TTL: time.Second}, o)
			return err
		}, nil},
		"RevokeLease": {func(o client.WriteOptions) error {
			_, err := c.RevokeLease(ctx, "1", client.RevokeOptions{}, o)
			return err
		}, []string{"AllowMissing"}},
		"ReleaseLeaseGuard": {func(o client.WriteOptions) error { _, err := c.ReleaseLeaseGuard(ctx, o); return err }, nil},
	}
	c.Close()
	for name, change := range changes {
		for option, o := range options {
			e := failure(t, change.do(o))
			if refused := e.Code == codes.InvalidArgument; refused == slices.Contains(change.has, option) {
				t.Errorf("%s with %s: %v", name, option, e)
			} else if refused && !strings.Contains(e.Message, option) {
				t.Errorf("%s does not say that it has no %s: %v", name, option, e)
			}
		}
	}
}

func TestWritesAskForWhatTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		revision := int64(4)
		o := client.WriteOptions{Reason: "why", Actor: "who", RequestID: "id", LeaseID: "lease"}
		f.grant("lease", time.Hour)
		f.grant("other", time.Hour)
		if _, err := c.SetBatch(t.Context(), []client.Change{
			{Service: "a", Status: notServing, IfRevision: &revision}, {Service: "b", Status: unknown, LeaseID: "other"},
		}, o); err != nil {
			t.Fatal(err)
		}
		o.AllowMissing, o.IfRevision = true, &revision
		if _, err := c.Delete(t.Context(), "a", o); err != nil {
			t.Fatal(err)
		}
		batch := f.nodes[0].seen("BatchSetServingStatus")[0].request.(*rollcallv1.BatchSetServingStatusRequest)
		if got := batch.GetChanges(); got[0].GetStatus() != notServing || got[0].GetIfRevision() != 4 || got[1].Status == nil || got[1].IfRevision != nil {
			t.Errorf("changes %v", got)
		} else if got[0].GetLeaseId() != "lease" || got[1].GetLeaseId() != "other" {
			t.Errorf("leases of changes: %v", got)
		}
		del := f.nodes[0].seen("DeleteService")[0].request.(*rollcallv1.DeleteServiceRequest)
		if !del.GetAllowMissing() || del.GetIfRevision() != 4 || del.GetLeaseId() != "lease" {
			t.Errorf("delete %v", del)
		}
		for _, r := range []interface {
			GetReason() string
			GetActor() string
			GetRequestId() string
		}{batch, del} {
			if r.GetReason() != "why" || r.GetActor() != "who" || r.GetRequestId() != "id" {
				t.Errorf("got %v", r)
			}
		}
	})
}

func TestCloseInterruptsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.nodes[0].onWrite = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		c := f.client(t)
		time.AfterFunc(time.Minute, func() { c.Close() })
		err := set(context.Background(), c, client.WriteOptions{})
		if e := failure(t, err); e.Written != client.WrittenUnknown || !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
