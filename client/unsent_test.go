package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// TestNothingSentIsNotWritten: two of three nodes are gone, and the third takes no writes because it has no
// leader. Whenever the time ends, nothing was written, and the error says so.
func TestNothingSentIsNotWritten(t *testing.T) {
	for _, alive := range []int{0, 1, 2} {
		for timeout := 100 * time.Millisecond; timeout < 3*time.Second; timeout += 37 * time.Millisecond {
			t.Run(fmt.Sprintf("n%d answers, %s", alive+1, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := startBuffered(t, 3)
					for i, n := range f.nodes {
						n.onWrite = func(ctx context.Context, _ int) error {
							lag(ctx, 2*time.Millisecond)
							return refusal(codes.Unavailable, "NOT_WRITTEN", nil)
						}
						if i != alive {
							n.kill()
						}
					}
					err := set(within(t, timeout), f.client(t), client.WriteOptions{})
					e := failure(t, err)
					if e.Written != client.WrittenNo || e.Reason != "NOT_WRITTEN" || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("written %v, %v, reason %q: %v", e.Written, e.Code, e.Reason, err)
					}
				})
			})
		}
	}
}

type failingCredentials struct{ err error }

func (c failingCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, c.err
}
func (failingCredentials) RequireTransportSecurity() bool { return false }

// TestAnAttemptThatEndsBeforeItIsSent: each way in which an attempt can end before a byte left.
func TestAnAttemptThatEndsBeforeItIsSent(t *testing.T) {
	ended := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel() // as if the time ended between connecting and sending
		return invoke(ctx, method, req, reply, cc, o...)
	}
	silent := manual.NewBuilderWithScheme("silent") // finds no address, ever
	failing := manual.NewBuilderWithScheme("failing")
	failing.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
		cc.ReportError(errors.New("no such host"))
	}
	for name, test := range map[string]struct {
		options  []grpc.DialOption
		endpoint string
	}{
		"the context ended before the call": {options: []grpc.DialOption{grpc.WithUnaryInterceptor(ended)}},
		"credentials that cannot be had":    {options: []grpc.DialOption{grpc.WithPerRPCCredentials(failingCredentials{errors.New("no token")})}},
		"credentials that are refused":      {options: []grpc.DialOption{grpc.WithPerRPCCredentials(failingCredentials{status.Error(codes.Unauthenticated, "expired")})}},
		"a name that is not resolved":       {options: []grpc.DialOption{grpc.WithResolvers(silent)}, endpoint: "silent:///n1"},
		"a name that does not exist":        {options: []grpc.DialOption{grpc.WithResolvers(failing)}, endpoint: "failing:///n1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 1)
				cfg := f.config()
				cfg.DialOptions = append(cfg.DialOptions, test.options...)
				if test.endpoint != "" {
					cfg.Endpoints = []string{test.endpoint}
				}
				e := failure(t, set(within(t, time.Second), newClient(t, cfg), client.WriteOptions{}))
				if e.Written != client.WrittenNo {
					t.Errorf("written %v: %v", e.Written, e)
				}
				wantCalls(t, f.nodes[0], "SetServingStatus", 0)
			})
		})
	}
	t.Run("a context that has ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if e := failure(t, set(ctx, startBuffered(t, 1).client(t), client.WriteOptions{})); e.Written != client.WrittenNo {
				t.Errorf("%v", e)
			}
		})
	})
	t.Run("a closed client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := startBuffered(t, 1).client(t)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if e := failure(t, set(t.Context(), c, client.WriteOptions{})); e.Written != client.WrittenNo {
				t.Errorf("%v", e)
			}
		})
	})
}
