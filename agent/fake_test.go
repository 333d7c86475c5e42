package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

const (
	serving    = client.Serving
	notServing = client.NotServing
	unknown    = client.Unknown
	missing    = client.ServiceUnknown

	address = "10.0.0.7:8080"
)

// fakeRegistry is a registry with services and overrides that are off, to which an agent reports.
type fakeRegistry struct {
	mu        sync.Mutex
	records   map[string]fakeRecord
	overrides map[string]client.Status // by pattern: a name, or a prefix with "*"
	views     map[*fakeView]bool       // those that run
	leases    map[client.OnStop]*fakeLease
	written   []event
	revision  int64
	silent    bool  // no view hears anything
	why       error // that views tell for it
	hangs     bool  // nothing is written
	thaw      chan struct{}
}

type fakeRecord struct {
	status client.Status
	reason string
	lease  *fakeLease // nil: none
	rival  string     // the lease of another reporter that it is attached to
	ended  bool       // and whether that has ended
}

type event struct {
	at     time.Time
	name   string
	status client.Status
	reason string
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{
		records: map[string]fakeRecord{}, overrides: map[string]client.Status{}, views: map[*fakeView]bool{},
		leases: map[client.OnStop]*fakeLease{}, thaw: make(chan struct{}),
	}
}

// do changes something, and has the views hear of it.
func (r *fakeRegistry) do(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision++
	change()
	r.tell()
}

func (r *fakeRegistry) tell() {
	for v := range r.views {
		v.hear()
	}
}

// set is what an operator reports; missing deletes.
func (r *fakeRegistry) set(name string, s client.Status) {
	r.do(func() {
		if s == missing {
			delete(r.records, name)
		} else {
			r.records[name] = fakeRecord{status: s}
		}
	})
}

// override sets an override; missing clears it.
func (r *fakeRegistry) override(pattern string, s client.Status) {
	r.do(func() {
		if s == missing {
			delete(r.overrides, pattern)
		} else {
			r.overrides[pattern] = s
		}
	})
}

func (r *fakeRegistry) hush(silent bool) { r.do(func() { r.silent = silent }) }

// hang has no write be answered, or lets all go on.
func (r *fakeRegistry) hang(hangs bool) {
	r.do(func() {
		if r.hangs && !hangs {
			close(r.thaw)
			r.thaw = make(chan struct{})
		}
		r.hangs = hangs
	})
}

func (r *fakeRegistry) record(name string) (fakeRecord, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, ok := r.records[name]
	return record, ok
}

// all returns what was written.
func (r *fakeRegistry) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.written)
}

// reports returns what was written of a name.
func (r *fakeRegistry) reports(name string) (all []event) {
	for _, e := range r.all() {
		if e.name == name {
			all = append(all, e)
		}
	}
	return all
}

// statuses returns the statuses that were written of a name.
func (r *fakeRegistry) statuses(name string) (all []client.Status) {
	for _, e := range r.reports(name) {
		all = append(all, e.status)
	}
	return all
}

// opinion is what a node says of a name. r.mu is held.
func (r *fakeRegistry) opinion(name string) view.Opinion {
	o := view.Opinion{Heard: true, Status: missing, Cluster: "a", Revision: r.revision}
	record, ok := r.records[name]
	if !ok {
		return o
	}
	o.Status = record.status
	o.Record = &rollcallv1.ServiceRecord{Service: name, Status: record.status, Report: &rollcallv1.Report{Status: record.status, Reason: record.reason, LeaseId: record.rival, Actor: &rollcallv1.Actor{Name: "bob", Peer: "10.0.0.8:1"}}}
	switch {
	case record.lease != nil:
		o.Record.Report.LeaseId = record.lease.id()
	case record.rival != "":
		o.Record.Lease = &rollcallv1.Lease{LeaseId: record.rival}
		if record.ended {
			o.Record.Lease.EndTime = timestamppb.Now()
		}
	}
	longest := -1
	for pattern, s := range r.overrides {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if covers := name == pattern || wild && strings.HasPrefix(name, prefix); covers && len(pattern) > longest {
			longest = len(pattern)
			o.Status, o.Record.Status = s, s
			o.Record.Override = &rollcallv1.Override{Pattern: pattern, Status: s, Reason: "maintenance", Actor: &rollcallv1.Actor{Name: "ann"}}
		}
	}
	o.Off = o.Status == notServing
	return o
}

// registry is what an Agent gets.
func (r *fakeRegistry) registry() registry {
	return registry{
		newView: func(names []string, known map[string]view.Opinion) (source, error) {
			for _, name := range names {
				if err := limits.Name(name); err != nil {
					return nil, err
				}
			}
			v := &fakeView{r: r, names: names, opinions: maps.Clone(known), changed: make(chan struct{})}
			return v, nil
		},
		newLease: func(stop client.OnStop, onEvent func(client.LeaseEvent)) (lease, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			l := &fakeLease{r: r, stop: stop, services: map[string]client.Report{}, written: map[string]int64{}, onEvent: onEvent}
			r.leases[stop] = l
			return l, nil
		},
		close: func() error { return nil },
	}
}

// fakeView is a view.View of a fakeRegistry.
type fakeView struct {
	r        *fakeRegistry
	names    []string
	opinions map[string]view.Opinion // guarded by r.mu
	changed  chan struct{}
}

func (v *fakeView) Run(ctx context.Context) error {
	v.r.do(func() { v.r.views[v] = true })
	<-ctx.Done()
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	delete(v.r.views, v)
	return ctx.Err()
}

// hear takes what the registry says. r.mu is held.
func (v *fakeView) hear() {
	if v.r.silent {
		return
	}
	if v.opinions == nil {
		v.opinions = map[string]view.Opinion{}
	}
	for _, name := range v.names {
		v.opinions[name] = v.r.opinion(name)
	}
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *fakeView) Get(name string) view.Opinion {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	return v.opinions[name]
}

func (v *fakeView) Changed() <-chan struct{} {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	return v.changed
}

func (v *fakeView) Err() error {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	return v.r.why
}

func (v *fakeView) Silent() time.Duration {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	if v.r.silent || !v.r.views[v] {
		return time.Second
	}
	return 0
}

// fakeLease writes at once, or when the registry does not hang any more.
type fakeLease struct {
	r        *fakeRegistry
	stop     client.OnStop
	onEvent  func(client.LeaseEvent)
	services map[string]client.Report // that it keeps
	written  map[string]int64         // at which revision
	waiting  []client.Report
	closed   bool
}

func (l *fakeLease) Submit(reports ...client.Report) error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.closed {
		return client.ErrLeaseClosed
	}
	for _, p := range reports {
		if l.r.hangs {
			l.waiting = append(l.waiting, p)
		} else {
			l.write(p)
		}
	}
	l.r.tell()
	return nil
}

func (l *fakeLease) id() string { return "lease of " + l.stop.String() }

func (l *fakeLease) Acknowledged(service string) (client.Acknowledged, bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	revision, ok := l.written[service]
	return client.Acknowledged{LeaseID: l.id(), Cluster: "a", Revision: revision}, ok
}

func (l *fakeLease) Rewrite(services ...string) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	for _, name := range services {
		if p, ok := l.services[name]; ok && !l.closed {
			l.write(p)
		}
	}
	l.r.tell()
}

// write writes a report. r.mu is held.
func (l *fakeLease) write(p client.Report) {
	l.r.revision++
	if p.Status == missing {
		delete(l.services, p.Service)
		delete(l.r.records, p.Service)
	} else {
		l.services[p.Service] = p
		l.r.records[p.Service] = fakeRecord{status: p.Status, reason: p.Reason, lease: l}
		l.written[p.Service] = l.r.revision
	}
	l.r.written = append(l.r.written, event{time.Now(), p.Service, p.Status, p.Reason})
}

// settle writes what waits, when the registry does not hang any more.
func (l *fakeLease) settle(ctx context.Context) error {
	for {
		l.r.mu.Lock()
		thaw, hangs := l.r.thaw, l.r.hangs
		if !hangs {
			for _, p := range l.waiting {
				l.write(p)
			}
			l.waiting = nil
			l.r.tell()
		}
		l.r.mu.Unlock()
		if !hangs {
			return nil
		}
		select {
		case <-thaw:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *fakeLease) ReportBatch(ctx context.Context, reports []client.Report) error {
	if err := l.Submit(reports...); err != nil {
		return err
	}
	return l.settle(ctx)
}

func (l *fakeLease) Release(ctx context.Context, services ...string) error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	for _, name := range services {
		delete(l.services, name)
	}
	return ctx.Err()
}

func (l *fakeLease) Close(ctx context.Context) error {
	l.r.mu.Lock()
	l.closed = true
	l.r.mu.Unlock()
	if err := l.settle(ctx); err != nil {
		return err
	}
	l.r.do(func() {
		for name, record := range l.r.records {
			switch {
			case record.lease != l:
			case l.stop == client.StopWithdraw:
				delete(l.r.records, name)
			case l.stop == client.StopNotServing:
				l.r.records[name] = fakeRecord{status: notServing, reason: "rollcall agent stopped"}
			}
		}
	})
	return nil
}

// keeps reports whether the lease of an OnStop would report a name anew.
func (r *fakeRegistry) keeps(stop client.OnStop, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leases[stop]
	if l == nil {
		return false
	}
	_, ok := l.services[name]
	return ok
}

// probe is a check that fails, hangs or passes as a test wants.
type probe struct {
	failing atomic.Bool
	runs    atomic.Int64
	hangs   atomic.Bool // until its context ends
}

func (p *probe) check(ctx context.Context) error {
	p.runs.Add(1)
	if p.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if p.failing.Load() {
		return errors.New("no")
	}
	return nil
}

// checked is a check of a configuration. Another spec makes it another one.
func checked(name, spec string, p *probe) config.Check {
	return config.Check{
		Name: name, Kind: "func", Spec: spec, New: func() checks.Check { return checks.Func(name, p.check) },
		Options: []checks.CheckOption{checks.Interval(time.Second), checks.Jitter(0), checks.Fall(1), checks.Timeout(time.Minute)},
	}
}

func ttl(after time.Duration) config.Check {
	return config.Check{Name: "ttl", Kind: "ttl", Spec: "ttl " + after.String(), TTL: after, New: func() checks.Check { return checks.NewTTL("ttl", after) }}
}

func watched(name string, of ...config.Check) config.Service {
	return config.Service{Name: name, Instance: address, OnStop: client.StopNotServing, Checks: of}
}

func file(of ...config.Service) *config.Config {
	return &config.Config{Endpoints: []string{"a:1"}, TTL: 30 * time.Second, ForgetAfter: time.Hour, Services: of}
}

// running is an Agent that runs in a bubble.
type running struct {
	*Agent
	t    *testing.T
	reg  *fakeRegistry
	end  context.CancelFunc
	done chan error
	once sync.Once
}

// start runs an Agent, which the functions change before; it is stopped at the end of the test.
func start(t *testing.T, reg *fakeRegistry, cfg *config.Config, change ...func(*Agent)) *running {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	a := newAgent(cfg, reg.registry(), logger)
	for _, one := range change {
		one(a)
	}
	var err error
	if a.ports, err = listen(cfg, a.board, newHTTP(a, cfg), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Agent: a, t: t, reg: reg, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	synctest.Wait()
	return r
}

// stop stops the agent, once, and returns how long that took.
func (r *running) stop() time.Duration {
	r.t.Helper()
	begun := time.Now()
	r.end()
	r.once.Do(func() {
		if err := <-r.done; err != nil {
			r.t.Errorf("Run returns %v", err)
		}
	})
	return time.Since(begun)
}

// shows fails if local clients are not told want of a service.
func (r *running) shows(name string, want client.Status) {
	r.t.Helper()
	synctest.Wait()
	if got := r.board.look(name); got != want {
		r.t.Errorf("%s shows as %v, want %v", name, got, want)
	}
}

// reported fails if the registry has not want of a name.
func (r *running) reported(name string, want client.Status) {
	r.t.Helper()
	synctest.Wait()
	record, ok := r.reg.record(name)
	if got := record.status; ok != (want != missing) || ok && got != want {
		r.t.Errorf("the registry has %v of %s (there is one: %v), want %v", got, name, ok, want)
	}
}

func (r *running) mustReload(cfg *config.Config) {
	r.t.Helper()
	if err := r.Reload(cfg); err != nil {
		r.t.Fatal(err)
	}
}
