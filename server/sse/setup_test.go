package sse

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/httpserver"
	"github.com/rollcallhq/rollcall/server/inprocess"
	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/tlsport"
)

// calls is a Conn whose streams send what a test says.
type calls struct {
	mu   sync.Mutex // guards what follows
	reqs []proto.Message
	mds  []metadata.MD

	// run is one call. It returns as a handler does.
	run func(ctx context.Context, req proto.Message, send func(proto.Message) error) error
}

func (c *calls) Stream(ctx context.Context, method string, req proto.Message, send func(metadata.MD, proto.Message) error) error {
	md, _ := metadata.FromIncomingContext(ctx)
	c.mu.Lock()
	c.reqs, c.mds = append(c.reqs, req), append(c.mds, md)
	c.mu.Unlock()
	return c.run(ctx, req, func(m proto.Message) error {
		return send(metadata.Pairs("rollcall-node", "n1", "other", method), m)
	})
}

// last returns the request of the newest call, and its metadata.
func (c *calls) last() (proto.Message, metadata.MD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reqs[len(c.reqs)-1], c.mds[len(c.mds)-1]
}

// one sends messages and waits for the end.
func one(messages ...proto.Message) func(context.Context, proto.Message, func(proto.Message) error) error {
	return func(ctx context.Context, _ proto.Message, send func(proto.Message) error) error {
		for _, m := range messages {
			if err := send(m); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
}

func synced(revision int64, names ...string) *rollcallv1.WatchServicesResponse {
	m := &rollcallv1.WatchServicesResponse{Revision: revision, Synced: true, ClusterId: "3f9a"}
	for _, name := range names {
		m.Services = append(m.Services, &rollcallv1.ServiceRecord{Service: name, Status: 1})
	}
	return m
}

// site is a node's HTTP port.
type site struct {
	*calls
	streams *Streams
	handler *rest.Handler
	port    *httpserver.Server
	addr    string
	dial    func() net.Conn    // a connection to addr, on which requests can be written
	stop    context.CancelFunc // as the node does before handler.Stop
}

type noTokens struct{}

func (noTokens) Generation() int64                   { return 0 }
func (noTokens) Token(string) (string, *logv1.Token) { return "", nil }
func (noTokens) Changed() <-chan struct{}            { return nil }

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	return newSiteOver(t, false, change)
}

// newSiteOver is newSite with or without TLS.
func newSiteOver(t *testing.T, secure bool, change func(*Config)) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ending, stop := context.WithCancel(context.Background())
	callers := authn.New(authn.Config{Tokens: noTokens{}, Clock: func() int64 { return 0 }, Logger: log})
	s := &site{calls: &calls{}, stop: stop}
	cfg := Config{
		Conn: s.calls, ClusterID: func() string { return "3f9a" }, Identity: func(context.Context) string { return "anonymous" },
		Pages: budget.New("pages", 1<<30, 1<<30, nil), MaxStreams: 2000, MaxPerAddress: 2000, Ending: ending, Logger: log,
	}
	if change != nil {
		change(&cfg)
	}
	s.streams = New(cfg)
	s.handler = rest.New(rest.Config{
		Node: "n1", Conn: &inprocess.Conn{}, Callers: callers, Answers: cfg.Pages, Bodies: cfg.Pages, MaxCalls: 3000, Logger: log,
		Streams: map[string]http.Handler{"/api/v1/services:watch": s.streams.Services(), "/api/v1/events:watch": s.streams.Events()},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if secure {
		l = tlsport.New(tlsport.Config{
			Name: "http", Mode: tlsport.Required, Source: tlstest.Open(t, tlstest.NewCA(t, "ca").Issue([]string{"n1"})),
			ClientCertificate: certs.Optional, Handshakes: tlsport.NewHandshakes(10), Logger: log,
		}).Listen(l)
	}
	s.dial = func() net.Conn {
		c, err := net.Dial("tcp", s.addr)
		if err == nil && secure {
			conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			c, err = conn, conn.Handshake()
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s.port = httpserver.New(s.handler, 4000, log)
	var done sync.WaitGroup
	done.Go(func() { _ = s.port.Serve(l) })
	t.Cleanup(func() {
		s.end()
		s.port.Close()
		done.Wait()
		if c := s.streams.Counts(); c.Services != 0 || c.Events != 0 || s.streams.limits.open != 0 || len(s.streams.limits.of) != 0 {
			t.Errorf("streams are left: %+v", c)
		}
		if used, _, _ := cfg.Pages.Use(); used != 0 {
			t.Errorf("%d bytes are left in the budget", used)
		}
	})
	return s
}

// end stops the node.
func (s *site) end() {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = s.handler.Stop(ctx)
}

// reader is an open stream.
type reader struct {
	t    *testing.T
	res  *http.Response
	body *bufio.Reader
}

// get opens a stream over a connection of its own. headers are names and values.
func (s *site) get(t *testing.T, path string, headers ...string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	res, err := transport.RoundTrip(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		res.Body.Close()
		transport.CloseIdleConnections()
	})
	return &reader{t, res, bufio.NewReader(res.Body)}
}

// event returns the next event, without the comments before it, or io.EOF.
func (r *reader) event() (string, error) {
	var lines []string
	for {
		line, err := r.body.ReadString('\n')
		if err != nil {
			return "", err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line != "":
			lines = append(lines, line)
		case len(lines) == 1 && lines[0] == ":":
			lines = nil
		default:
			return strings.Join(lines, "\n"), nil
		}
	}
}

func (r *reader) wants(events ...string) {
	r.t.Helper()
	for _, want := range events {
		if got, err := r.event(); err != nil || got != want {
			r.t.Fatalf("received\n%s (%v), want\n%s", got, err, want)
		}
	}
}

// refused checks the answer to a request that opened no stream.
func (r *reader) refused(code int, reason, part string) {
	r.t.Helper()
	body, err := io.ReadAll(r.body)
	if err != nil || r.res.StatusCode != code || !strings.Contains(string(body), `"reason":"`+reason+`"`) || !strings.Contains(string(body), part) ||
		r.res.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%d %v %s (%v); want %d %s %s", r.res.StatusCode, r.res.Header, body, err, code, reason, part)
	}
}

func newBudget(bytes int64) *budget.Budget { return budget.New("pages", bytes, bytes, nil) }

var errStopping = status.Error(codes.Unavailable, "the node is stopping")
