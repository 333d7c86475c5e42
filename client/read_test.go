package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// failure is err as the client's own; the test ends if it is none.
func failure(t *testing.T, err error) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("got error %v, want a *client.Error", err)
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("error is of several lines: %q", err)
	}
	return e
}

func wantCheck(t *testing.T, c *client.Client, service string, want client.Status) {
	t.Helper()
	got, err := c.Check(t.Context(), service)
	if err != nil || got != want {
		t.Errorf("Check(%q) = %v, %v, want %v", service, got, err, want)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantCalls(t *testing.T, n *fakeNode, method string, want int) {
	t.Helper()
	if got := len(n.seen(method)); got != want {
		t.Errorf("%s got %d calls of %s, want %d", n.name, got, method, want)
	}
}

func TestReadMovesPastRefusingEndpointsAndStaysWhereItWasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{service: "a", status: serving})
		f.nodes[0].kill()
		f.nodes[1].kill()
		c := f.client(t)
		wantCheck(t, c, "a", serving)
		f.nodes[0].start()
		wantCheck(t, c, "a", serving)
		wantCalls(t, f.nodes[0], "Check", 0)
		wantCalls(t, f.nodes[2], "Check", 2)
	})
}

func TestNoEndpointIsToldAtOnce(t *testing.T) {
	for name, do := range map[string]func(context.Context, *client.Client) error{
		"read": func(ctx context.Context, c *client.Client) error { _, err := c.Check(ctx, "a"); return err },
		"write": func(ctx context.Context, c *client.Client) error {
			_, err := c.Set(ctx, "a", serving, client.WriteOptions{})
			return err
		},
		"watch": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.Watch(ctx, "a") {
				return err
			}
			return nil
		},
		"wait": func(ctx context.Context, c *client.Client) error { _, err := c.WaitFor(ctx, "a", serving); return err },
		"list": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.List(ctx, client.ListOptions{}) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newCluster("n1", "n2", "n3")
				c := f.client(t)
				began := time.Now()
				e := failure(t, do(t.Context(), c))
				if took := time.Since(began); took > 200*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if e.Code != codes.Unavailable || e.Reason != client.ReasonNoEndpoint || e.Written != client.WrittenNo {
					t.Errorf("got %v %q written %v", e.Code, e.Reason, e.Written)
				}
				if want := "no endpoint answers: tried passthrough:///n1, passthrough:///n2, passthrough:///n3: connection refused"; e.Message != want {
					t.Errorf("message %q, want %q", e.Message, want)
				}
			})
		})
	}
}

func TestNoEndpointOnRealSockets(t *testing.T) {
	cfg := client.DefaultConfig()
	cfg.KeepOrder = true
	cfg.Endpoints = []string{"127.0.0.1:1", "127.0.0.1:2"} // ports that no test is given
	_, err := newClient(t, cfg).Check(t.Context(), "a")
	if want := "check a: no endpoint answers: tried 127.0.0.1:1, 127.0.0.1:2: connection refused"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A listener that is never read from is what a stopped process looks like.
func TestReadMovesPastStoppedProcess(t *testing.T) {
	f, err := startLoopback(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	f.write(event{service: "a", status: serving})
	stopped, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped.Close() })
	cfg := client.DefaultConfig()
	cfg.KeepOrder = true
	cfg.Endpoints = []string{stopped.Addr().String(), f.nodes[0].name}
	cfg.AttemptTimeout = 50 * time.Millisecond
	c := newClient(t, cfg)
	for ctx := within(t, time.Minute); ; {
		got, err := c.Check(ctx, "a")
		e := (*client.Error)(nil)
		if ctx.Err() == nil && errors.As(err, &e) && e.Reason == client.ReasonNoEndpoint {
			continue // 50 ms may be too short for the other one, too
		}
		if err != nil || got != serving {
			t.Errorf("got %v, %v", got, err)
		}
		return
	}
}

func TestReadMovesPastHungEndpoints(t *testing.T) {
	for name, test := range map[string]struct {
		connected bool
		hedge     time.Duration
		want      time.Duration
	}{
		"while connecting":                     {false, 0, 300 * time.Millisecond},
		"on a standing connection":             {true, 0, 300 * time.Millisecond},
		"while connecting, unhedged":           {false, -1, 2 * time.Second},
		"on a standing connection, unhedged":   {true, -1, 2 * time.Second},
		"while connecting, early":              {false, 70 * time.Millisecond, 70 * time.Millisecond},
		"on a standing connection, late hedge": {true, time.Minute, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				f.write(event{service: "a", status: serving})
				cfg := f.config()
				cfg.Hedge = test.hedge
				c := newClient(t, cfg)
				if test.connected {
					wantCheck(t, c, "a", serving)
				}
				f.do(func() { f.nodes[0].hung = true })
				began := time.Now()
				wantCheck(t, c, "a", serving)
				if took := time.Since(began); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
				began = time.Now()
				wantCheck(t, c, "a", serving)
				if took := time.Since(began); took != 0 {
					t.Errorf("the next call took %v, want none", took)
				}
				f.do(func() { f.nodes[0].hung = false })
			})
		})
	}
}

// An address from which nothing ever comes, not even a refusal, costs no more than a node that hangs.
func TestReadMovesPastABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving})
		cfg := f.config()
		cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
			if name == f.nodes[0].name {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return f.dial(ctx, name)
		})}
		c := newClient(t, cfg)
		ctx := client.WithEndpoints(t.Context(), c.Endpoints()...) // always n1 first
		for range 60 {                                             // longer than gRPC dials
			began := time.Now()
			if _, err := c.Check(ctx, "a"); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
	})
}

func TestLaterRoundsAreMorePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.write(event{service: "a", status: serving})
		for _, n := range f.nodes {
			n.onRead = func(ctx context.Context, _ string) error { lag(ctx, 5*time.Second); return ctx.Err() }
		}
		wantCheck(t, f.client(t), "a", serving)
	})
}

func TestReadGoesOnUntilTheDeadlineAndSaysWhatWasLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		for _, n := range f.nodes {
			n.onRead = func(context.Context, string) error { return refusal(codes.Unavailable, "STOPPING", nil) }
		}
		began := time.Now()
		_, err := f.client(t).Check(within(t, 5*time.Second), "a")
		e := failure(t, err)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if e.Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v: %v", e.Code, err)
		}
		if !strings.HasPrefix(e.Message, "context deadline exceeded; last: passthrough:///n") || !strings.HasSuffix(e.Message, ": fake: stopping") {
			t.Errorf("message %q", e.Message)
		}
		// 50 ms, doubling, 1 s at most; never less than half of that.
		if n := len(f.nodes[0].seen("Check")); n < 8 || n > 16 {
			t.Errorf("a node was asked %d times in 5 s", n)
		}
	})
}

func TestReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.nodes[0].onRead = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		c := f.client(t)
		reason := errors.New("the user left")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(reason) })
		_, err := c.Check(ctx, "a")
		if e := failure(t, err); e.Code != codes.Canceled || !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
			t.Errorf("got %v: %v", e.Code, err)
		}
	})
}

func TestAnswersOfReads(t *testing.T) {
	tests := map[string]struct {
		err   error
		calls int // of both nodes together
	}{
		"a refusal stands":                      {refusal(codes.InvalidArgument, "INVALID_ARGUMENT", nil), 1},
		"not found stands":                      {refusal(codes.NotFound, "NOT_FOUND", nil), 1},
		"a limit of the node stands":            {refusal(codes.ResourceExhausted, "LIMIT_REACHED", nil), 1},
		"a defect may be one node's":            {refusal(codes.Internal, "INTERNAL", nil), 2},
		"a limit of gRPC may be one connection": {status.Error(codes.ResourceExhausted, "too large"), 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				for _, n := range f.nodes {
					n.onRead = func(context.Context, string) error { return test.err }
				}
				_, err := f.client(t).Get(t.Context(), "a")
				if e := failure(t, err); e.Code != status.Code(test.err) {
					t.Errorf("got %v: %v", e.Code, err)
				}
				if got := len(f.nodes[0].seen("GetService")) + len(f.nodes[1].seen("GetService")); got != test.calls {
					t.Errorf("got %d calls, want %d", got, test.calls)
				}
			})
		})
	}
}

func TestEndpointThatCameBackIsNoticedByTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "a", status: serving})
		c := f.client(t)
		f.nodes[0].kill()
		for range 5 {
			if _, err := c.Check(t.Context(), "a"); err == nil {
				t.Fatal("a dead node answered")
			}
			time.Sleep(10 * time.Second) // until gRPC's own backoff is at its longest
		}
		f.nodes[0].start()
		wantCheck(t, c, "a", serving)
	})
}

func TestListGoesOnElsewhereAndNotBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			f.write(event{service: name, status: serving})
		}
		c := f.client(t)
		var got []string
		for r, err := range c.List(t.Context(), client.ListOptions{PageSize: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, r.GetService()); len(got) == 1 {
				f.nodes[0].kill()
			}
		}
		if want := "a b c d e"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
		pages := f.nodes[1].seen("ListServices")
		if len(pages) != 2 {
			t.Fatalf("the other node was asked for %d pages, want 2", len(pages))
		}
		if token := pages[0].request.(*rollcallv1.ListServicesRequest).GetPageToken(); token != "b" || pages[0].minRevision != 5 {
			t.Errorf("it was asked for token %q from revision %d, want b, 5", token, pages[0].minRevision)
		}
	})
}

func TestListMayBeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.write(event{service: "a", status: serving}, event{service: "b", status: serving})
		for range f.client(t).List(t.Context(), client.ListOptions{PageSize: 1}) {
			break
		}
		wantCalls(t, f.nodes[0], "ListServices", 1)
	})
}

func TestNameThatCannotBeSent(t *testing.T) {
	c := newClient(t, client.DefaultConfig())
	_, err := c.Check(t.Context(), "\xff")
	if e := failure(t, err); e.Code != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
	for _, err := range c.Watch(t.Context(), "\xff") {
		if e := failure(t, err); e.Code != codes.InvalidArgument {
			t.Errorf("watch: got %v", err)
		}
	}
}

func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		block := func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		f.nodes[0].onRead, f.nodes[1].onRead = block, block
		cfg := f.config()
		cfg.AttemptTimeout = time.Hour
		c := newClient(t, cfg)
		time.AfterFunc(time.Second, func() { c.Close() })
		_, err := c.Check(context.Background(), "a")
		if e := failure(t, err); e.Code != codes.Canceled || !errors.Is(err, client.ErrClosed) || errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: got %v: %v", e.Code, err)
		}
		_, err = c.Set(context.Background(), "a", serving, client.WriteOptions{})
		if e := failure(t, err); !errors.Is(err, client.ErrClosed) || e.Written != client.WrittenNo {
			t.Errorf("afterwards: got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		f.nodes[0].onRead = func(context.Context, string) error { return status.Error(codes.Unavailable, "") }
		c := f.client(t)
		w := watch(t, c, "a")
		end := time.Now().Add(time.Minute)
		time.AfterFunc(time.Minute, func() { c.Close() })
		if _, err := c.Check(context.Background(), "a"); !errors.Is(err, client.ErrClosed) || !time.Now().Equal(end) {
			t.Errorf("ended %v late with %v", time.Since(end), err)
		}
		w.want(t, "")
		if !errors.Is(w.err, client.ErrClosed) {
			t.Errorf("the watch ended with %v", w.err)
		}
	})
}

func TestImpossibleOptionsAreOneClearError(t *testing.T) {
	cfg := client.DefaultConfig()
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(nil)}
	_, err := newClient(t, cfg).Check(t.Context(), "a")
	if e := failure(t, err); e.Code != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

func TestConfigValidate(t *testing.T) {
	tests := map[string]struct {
		cfg  client.Config
		want string // "" is valid
	}{
		"defaults":          {client.DefaultConfig(), ""},
		"only endpoints":    {client.Config{Endpoints: []string{"[::1]:7600", "unix:/run/x", "dns:///a:1"}}, ""},
		"none":              {client.Config{}, "no endpoints are given"},
		"no port":           {client.Config{Endpoints: []string{"host"}}, "is not host:port"},
		"empty port":        {client.Config{Endpoints: []string{"host:"}}, "is not host:port"},
		"port 0":            {client.Config{Endpoints: []string{"host:0"}}, "from 1 to 65535"},
		"large port":        {client.Config{Endpoints: []string{"host:65536"}}, "from 1 to 65535"},
		"named port":        {client.Config{Endpoints: []string{"host:https"}}, "from 1 to 65535"},
		"bare IPv6":         {client.Config{Endpoints: []string{"::1:7600"}}, "[::1]:7600"},
		"URL":               {client.Config{Endpoints: []string{"http://host:7600"}}, "leave out http://"},
		"path":              {client.Config{Endpoints: []string{"host/x:7600"}}, "is not host:port"},
		"own resolver":      {client.Config{Endpoints: []string{"mine:///x"}, DialOptions: []grpc.DialOption{grpc.WithUserAgent("x")}}, ""},
		"nil option":        {client.Config{Endpoints: []string{"a:1"}, DialOptions: []grpc.DialOption{nil}}, "nil"},
		"twice":             {client.Config{Endpoints: []string{"a:1", "a:1"}}, "listed twice"},
		"negative duration": {client.Config{Endpoints: []string{"a:1"}, AttemptTimeout: -1}, "negative"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.New(test.cfg)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
