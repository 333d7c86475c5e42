package grpctest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// Load calls a channel from several goroutines until Stop.
type Load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	calls  atomic.Int64

	mu       sync.Mutex // guards what follows
	failures []error
}

// StartLoad has callers call UnaryCall one call after the other, each with a deadline.
func StartLoad(conn grpc.ClientConnInterface, callers int, deadline time.Duration) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel}
	client := testpb.NewTestServiceClient(conn)
	for range callers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				call, done := context.WithTimeout(context.Background(), deadline)
				_, err := client.UnaryCall(call, &testpb.SimpleRequest{})
				done()
				l.calls.Add(1)
				if err == nil {
					continue
				}
				l.mu.Lock()
				l.failures = append(l.failures, err)
				l.mu.Unlock()
				pause := time.NewTimer(time.Millisecond) // a call that fails at once takes no time
				<-pause.C
			}
		})
	}
	return l
}

// Calls returns how many calls have ended.
func (l *Load) Calls() int { return int(l.calls.Load()) }

// Stop waits for the calls under way, and returns how many there were and the errors of those that failed.
func (l *Load) Stop() (calls int, failures []error) {
	l.cancel()
	l.wg.Wait()
	return l.Calls(), l.failures
}
