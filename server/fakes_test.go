package server

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/forward"
)

const (
	serving        = healthpb.HealthCheckResponse_SERVING
	notServing     = healthpb.HealthCheckResponse_NOT_SERVING
	unknown        = healthpb.HealthCheckResponse_UNKNOWN
	serviceUnknown = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

// fakeRegistry is Statuses and Registry: a map, a revision, one channel that is closed and replaced
// at every change.
type fakeRegistry struct {
	mu       sync.Mutex
	services map[string]Status
	own      map[string]Status
	revision int64
	changed  chan struct{}
	reason   string // of every record
	applied  uint64
	cluster  string // "": 3f9a
	unformed bool
	layers   fakeLayers
	fakeHistory
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{services: map[string]Status{}, own: map[string]Status{}, changed: make(chan struct{}), applied: 1}
}

func (f *fakeRegistry) wake() { close(f.changed); f.changed = make(chan struct{}) }

func (f *fakeRegistry) set(name string, s Status) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == serviceUnknown {
		delete(f.services, name)
	} else {
		f.services[name] = s
	}
	f.revision++
	f.note(name, s, f.revision, f.revision)
	f.wake()
	return f.revision
}

// setAll is one atomic write.
func (f *fakeRegistry) setAll(s Status, names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.revision + int64(len(names))
	for _, name := range names {
		f.services[name] = s
		f.revision++
		f.note(name, s, f.revision, last)
	}
	f.wake()
}

func (f *fakeRegistry) SetOwn(name string, s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own[name] = s
	f.wake()
}

func (f *fakeRegistry) status(name string) (Status, bool) {
	if s, ok := f.own[name]; ok {
		return s, true
	}
	s, ok := f.services[name]
	return s, ok
}

func (f *fakeRegistry) Status(name string) (Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status(name)
}

// WatchStatus sends from a goroutine of the watch's own.
func (f *fakeRegistry) WatchStatus(name string, _ any, send func(Status)) (ready, stop func()) {
	var mu sync.Mutex // held while sending
	stopped, credit := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		last := Status(-1)
		for {
			select {
			case <-credit:
			case <-stopped:
				return
			}
			for {
				f.mu.Lock()
				changed := f.changed
				s, ok := f.status(name)
				f.mu.Unlock()
				if !ok {
					s = serviceUnknown
				}
				if s != last {
					last = s
					mu.Lock()
					select {
					case <-stopped:
					default:
						send(s)
					}
					mu.Unlock()
					break
				}
				select {
				case <-changed:
				case <-stopped:
					return
				}
			}
		}
	}()
	ready = func() {
		select {
		case credit <- struct{}{}:
		default:
		}
	}
	stop = func() {
		mu.Lock()
		defer mu.Unlock()
		close(stopped)
	}
	return ready, stop
}

func (f *fakeRegistry) ListStatuses(within pattern.Spans, limit int) (map[string]Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := maps.Clone(f.services)
	maps.DeleteFunc(all, func(name string, _ Status) bool { return !within.Has(name) })
	if len(all) > limit {
		return nil, true
	}
	return all, false
}

func (f *fakeRegistry) record(name string) *rollcallv1.ServiceRecord {
	s := f.services[name]
	return &rollcallv1.ServiceRecord{Service: name, Status: s, Report: &rollcallv1.Report{Status: s, Reason: f.reason}}
}

func (f *fakeRegistry) GetService(name string) (*rollcallv1.ServiceRecord, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.services[name]; !ok {
		return nil, f.revision
	}
	return f.record(name), f.revision
}

func (f *fakeRegistry) ListServices(within pattern.Spans, after string, limit int, statuses []Status, statusOnly bool) (recs []*rollcallv1.ServiceRecord, next string, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		if !within.Has(name) || name <= after {
			continue
		}
		if len(statuses) > 0 && !slices.Contains(statuses, f.services[name]) {
			continue
		}
		if len(recs) == limit {
			return recs, recs[limit-1].GetService(), f.revision
		}
		rec := f.record(name)
		if statusOnly {
			rec.Report = nil
		}
		recs = append(recs, rec)
	}
	return recs, "", f.revision
}

func (f *fakeRegistry) Revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *fakeRegistry) ClusterID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unformed {
		return ""
	}
	return cmp.Or(f.cluster, "3f9a")
}

func (f *fakeRegistry) ShownRevision() int64 { return f.Revision() }

func (f *fakeRegistry) WaitRevision(ctx context.Context, revision int64) error {
	for {
		f.mu.Lock()
		changed, at := f.changed, f.revision
		f.mu.Unlock()
		if at >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeRegistry) apply(index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = index
	f.wake()
}

func (f *fakeRegistry) AppliedIndex() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

func (f *fakeRegistry) WaitIndex(ctx context.Context, index uint64) error {
	for {
		f.mu.Lock()
		changed, at := f.changed, f.applied
		f.mu.Unlock()
		if at >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type notWrittenErr struct{ error }

func (notWrittenErr) NotWritten() bool { return true }

type unknownErr struct{ error }

func (unknownErr) OutcomeUnknown() bool { return true }
func (e unknownErr) Unwrap() error      { return e.error }

// fakeAgreement is Agreement and Node. Its propose can be replaced; by default it applies the write
// to the registry.
type fakeAgreement struct {
	registry *fakeRegistry

	mu       sync.Mutex
	status   NodeStatus
	changed  chan struct{}
	propose  func(context.Context, *logv1.Command) (*logv1.Result, error)
	proposed []*logv1.Command

	panics bool // in Start

	readIndex  func(context.Context) (uint64, error)
	checkLevel func(leader string, cmd *logv1.Command) error // nil: every leader takes every command
}

func newFakeAgreement(r *fakeRegistry) *fakeAgreement {
	return &fakeAgreement{
		registry: r,
		changed:  make(chan struct{}),
		status:   NodeStatus{ClusterID: "3f9a", Formed: true, Loaded: true, Role: rollcallv1.Role_ROLE_FOLLOWER},
	}
}

func (f *fakeAgreement) change(do func(st *NodeStatus)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.status)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeAgreement) onPropose(do func(context.Context, *logv1.Command) (*logv1.Result, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.propose = do
}

func (f *fakeAgreement) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.proposed)
}

func (f *fakeAgreement) Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	f.mu.Lock()
	f.proposed = append(f.proposed, cmd)
	propose := f.propose
	f.mu.Unlock()
	if propose != nil {
		return propose(ctx, cmd)
	}
	return f.apply(cmd), nil
}

// Start gives each command to Propose, until a little before it would be given up.
func (f *fakeAgreement) Start(proposals []*logv1.Proposal) {
	if f.panics {
		panic("boom")
	}
	for _, p := range proposals {
		if !p.Send() {
			continue
		}
		ctx, cancel := context.WithDeadline(context.Background(), p.Waiter.(*forward.Call).Deadline)
		answerable, end := deadline.Answerable(ctx, 0)
		go func() {
			defer cancel()
			defer end()
			p.Answer(f.Propose(answerable, p.Command))
			p.Waiter.Flush()
		}()
	}
}

func (f *fakeAgreement) apply(cmd *logv1.Command) *logv1.Result {
	res := f.Preview(cmd)
	for _, c := range cmd.GetWrite().GetChanges() {
		res.Revision = f.registry.set(c.GetService(), Status(c.GetStatus()))
	}
	return res
}

func (f *fakeAgreement) CheckLevel(leader string, cmd *logv1.Command) error {
	if f.checkLevel == nil {
		return nil
	}
	return f.checkLevel(leader, cmd)
}

func (f *fakeAgreement) Preview(cmd *logv1.Command) *logv1.Result {
	res := &logv1.Result{Revision: f.registry.Revision()}
	for _, c := range cmd.GetWrite().GetChanges() {
		rec := &logv1.ServiceRecord{Service: c.GetService()}
		if c.GetStatus() != logv1.Status_STATUS_SERVICE_UNKNOWN {
			rec.Report = &logv1.Report{Status: c.GetStatus(), Reason: cmd.GetReason(), Actor: cmd.GetActor()}
		}
		res.Services = append(res.Services, &logv1.ServiceResult{Record: rec, Changed: true})
	}
	previewRecord(cmd, res)
	return res
}

func (f *fakeAgreement) onReadIndex(do func(context.Context) (uint64, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readIndex = do
}

// ReadIndex answers 1 on a leader, unless it is replaced.
func (f *fakeAgreement) ReadIndex(ctx context.Context) (uint64, error) {
	f.mu.Lock()
	readIndex, leading := f.readIndex, f.status.Leading
	f.mu.Unlock()
	switch {
	case readIndex != nil:
		return readIndex(ctx)
	case !leading:
		return 0, errors.New("not the leader")
	}
	return 1, nil
}

func (f *fakeAgreement) Leader() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status.Leader, f.status.Leading
}

func (f *fakeAgreement) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeAgreement) Unreachable(member string) (time.Duration, string) {
	for _, u := range f.NodeStatus().CannotReach {
		if u.Member == member {
			return u.For, u.Why
		}
	}
	return 0, ""
}

func (f *fakeAgreement) NodeStatus() NodeStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

const bufSize = 256 << 10

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
