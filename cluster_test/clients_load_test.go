package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checking
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// workLoad is a stock client that calls the instances of both cells all the time.
type workLoad struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the rest
	calls   []workCall
	failed  []workFailure
	excused []span // in which calls may fail
}

// workCall is a call that an instance served.
type workCall struct {
	address string
	begun   time.Time // by the caller
	served  time.Time // by the instance
}

type workFailure struct {
	begun, ended time.Time
	err          error
}

// stockChannel takes turns among the instances whose health says SERVING. It makes no call twice.
func stockChannel(t *testing.T, config string, instances []*instance) *grpc.ClientConn {
	t.Helper()
	r := manual.NewBuilderWithScheme("rollcall-test")
	var state resolver.State
	for _, i := range instances {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.address}}})
	}
	r.InitialState(state)
	conn, err := grpc.NewClient(r.Scheme()+":///checkout", grpc.WithResolvers(r), grpc.WithConnectParams(reconnect),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// startWorkLoad makes a call a tick in each of some goroutines.
func startWorkLoad(t *testing.T, conn *grpc.ClientConn, callers int, tick time.Duration) *workLoad {
	ctx, cancel := context.WithCancel(context.Background())
	l := &workLoad{conn: conn, cancel: cancel}
	for range callers {
		l.wg.Go(func() {
			ticker := time.NewTicker(tick)
			defer ticker.Stop()
			for ctx.Err() == nil {
				l.call()
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *workLoad) stop() {
	l.cancel()
	l.wg.Wait()
	l.conn.Close()
}

// call gives up only after patience: a call that hangs is a failed one.
func (l *workLoad) call() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	var from peer.Peer
	var answer wrapperspb.Int64Value
	err := l.conn.Invoke(ctx, workMethod, &emptypb.Empty{}, &answer, grpc.Peer(&from))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, workFailure{begun, time.Now(), err})
		return
	}
	l.calls = append(l.calls, workCall{from.Addr.String(), begun, time.Unix(0, answer.Value)})
}

// since returns the calls that were noted after the first n.
func (l *workLoad) since(n int) []workCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[n:]
}

// count is how many calls were noted.
func (l *workLoad) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls)
}

// excuse lets calls fail that were under way in a time.
func (l *workLoad) excuse(from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.excused = append(l.excused, span{from, to})
}

// check fails the test for every call that failed, and returns how many were made.
func (l *workLoad) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	bad := 0
	for _, f := range l.failed {
		excused := false
		for _, e := range l.excused {
			excused = excused || f.ended.After(e.from) && f.begun.Before(e.to) && status.Code(f.err) == codes.Unavailable
		}
		if excused {
			continue
		}
		if bad++; bad <= 5 {
			t.Errorf("a call of %s failed %s later: %v", f.begun.Format("15:04:05.000"), f.ended.Sub(f.begun).Round(time.Millisecond), f.err)
		}
	}
	if bad > 5 {
		t.Errorf("%d calls failed", bad)
	}
	l.failed, l.excused = nil, nil
}

// settles waits until n calls in a row went to exactly these instances, and returns which calls came before.
func (l *workLoad) settles(t *testing.T, what string, n int, instances ...*instance) {
	t.Helper()
	want := map[string]bool{}
	for _, i := range instances {
		want[i.address] = true
	}
	from := l.count()
	eventually(t, fmt.Sprintf("%d calls to exactly %d instances, %s", n, len(instances), what), func(context.Context) bool {
		calls := l.since(from)
		seen := map[string]bool{}
		for k, c := range calls {
			if !want[c.address] {
				from += k + 1
				return false
			}
			seen[c.address] = true
		}
		return len(calls) >= n && len(seen) == len(want)
	})
}
