package healthserver

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

const (
	service  = "shop/checkout"
	address  = "10.0.0.7:8080"
	instance = service + "/" + address
)

type opinion = view.Opinion

// fakeSource is a view that says what a test wants.
type fakeSource struct {
	mu       sync.Mutex
	opinions map[string]opinion
	changed  chan struct{}
	once     func() // called once, after an opinion was got and before it is looked at
}

func newFakeSource() *fakeSource {
	return &fakeSource{opinions: map[string]opinion{}, changed: make(chan struct{})}
}

func (f *fakeSource) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeSource) Get(name string) opinion {
	f.mu.Lock()
	o, once := f.opinions[name], f.once
	f.once = nil
	f.mu.Unlock()
	if once != nil {
		once()
	}
	return o
}

func (f *fakeSource) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// say sets opinions; all at once.
func (f *fakeSource) say(opinions map[string]opinion) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, o := range opinions {
		f.opinions[name] = o
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

const clusterA, clusterB = "cluster-a", "cluster-b"

func report(st client.Status, leaseID string) opinion {
	return opinion{
		Heard: true, Off: st == client.NotServing, Status: st, Cluster: clusterA, Revision: 7,
		Record: &rollcallv1.ServiceRecord{Status: st, Report: &rollcallv1.Report{Status: st, LeaseId: leaseID, Revision: 7}},
	}
}

func overridden(st client.Status) opinion {
	o := report(client.Serving, "lease-1")
	o.Status, o.Off = st, st == client.NotServing
	o.Record.Status = st
	o.Record.Override = &rollcallv1.Override{Pattern: "shop/*", Status: st}
	return o
}

// absent is the opinion of a name that does not exist.
func absent() opinion {
	return opinion{Heard: true, Status: client.ServiceUnknown, Cluster: clusterA, Revision: 7}
}

// fakeLease records what is reported.
type fakeLease struct {
	mu      sync.Mutex
	terms   client.LeaseOptions
	options client.KeepOptions
	reports []client.Report
	times   []time.Time
	closed  bool
	refuse  error // of Submit

	acknowledged client.Acknowledged // LeaseID "": nothing is
	rewrites     int
}

func (l *fakeLease) keep(terms client.LeaseOptions, o client.KeepOptions) (lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.terms, l.options = terms, o
	return l, nil
}

func (l *fakeLease) Submit(reports ...client.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range reports {
		l.reports, l.times = append(l.reports, r), append(l.times, time.Now())
	}
	return l.refuse
}

func (l *fakeLease) Acknowledged(name string) (client.Acknowledged, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acknowledged, name == instance && l.acknowledged.LeaseID != ""
}

func (l *fakeLease) Rewrite(services ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rewrites++
	l.acknowledged = client.Acknowledged{} // until it is written again
}

// acknowledge has the registry acknowledge what was reported last.
func (l *fakeLease) acknowledge(revision int64) {
	l.mu.Lock()
	l.acknowledged = client.Acknowledged{LeaseID: "lease-1", Cluster: clusterA, Revision: revision}
	onEvent := l.options.OnEvent
	l.mu.Unlock()
	onEvent(client.LeaseEvent{Type: client.LeaseReported, LeaseID: "lease-1"})
}

func (l *fakeLease) rewritten() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rewrites
}

func (l *fakeLease) Close(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}

func (l *fakeLease) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *fakeLease) statuses() []client.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []client.Status
	for _, r := range l.reports {
		all = append(all, r.Status)
	}
	return all
}

// withRegistry gives a Server a registry of fakes.
func withRegistry(src *fakeSource, l *fakeLease) Option {
	return func(o *options) error {
		o.registry = &registry{
			newSource: func(_ []string, seed map[string]opinion, _ *slog.Logger) (source, error) {
				src.mu.Lock()
				defer src.mu.Unlock()
				for name, op := range seed {
					src.opinions[name] = op
				}
				return src, nil
			},
			keepLease: l.keep,
		}
		return nil
	}
}

func mustNew(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := New(service, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs s until the test ends.
func run(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		_ = s.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// stream is the server's end of a Watch. It records what is sent.
type stream struct {
	grpc.ServerStream
	ctx context.Context

	mu   sync.Mutex
	sent []client.Status
	err  error // of Send
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) Send(r *healthpb.HealthCheckResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, r.GetStatus())
	return s.err
}

func (s *stream) all() []client.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]client.Status(nil), s.sent...)
}

func (s *stream) last() client.Status {
	all := s.all()
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1]
}

// watching is a Watch under way.
type watching struct {
	*stream
	cancel context.CancelFunc
	ended  chan struct{}
	result error // once ended
}

// watch opens a Watch, which ends with the test.
func watch(t testing.TB, s healthpb.HealthServer, name string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{stream: &stream{ctx: ctx}, cancel: cancel, ended: make(chan struct{})}
	go func() {
		w.result = s.Watch(&healthpb.HealthCheckRequest{Service: name}, w.stream)
		close(w.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

// check asks s for a status; "NotFound" and its like are errors.
func check(t testing.TB, s healthpb.HealthServer, name string) (client.Status, error) {
	t.Helper()
	resp, err := s.Check(context.Background(), &healthpb.HealthCheckRequest{Service: name})
	return resp.GetStatus(), err
}
