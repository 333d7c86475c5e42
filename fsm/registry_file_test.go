package fsm

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// memRegistryFile is a registry file in memory. It panics where a delta breaks a rule of its own.
type memRegistryFile struct {
	mu       sync.Mutex
	meta     *logv1.RegistryMeta
	services map[string]*logv1.ServiceRecord
	members  map[string]*logv1.Member
	requests map[string]*logv1.RequestRecord // by key
	events   []*logv1.Event
	deltas   []*logv1.Delta

	replaceErr error
	loadErr    error
	durable    func() int64
	onRead     func() error // called before each reading of events
	onAwait    func(revision int64)
	onAppend   func(*logv1.Delta)
}

func newMemRegistryFile() *memRegistryFile {
	return &memRegistryFile{
		meta:     &logv1.RegistryMeta{},
		services: map[string]*logv1.ServiceRecord{},
		members:  map[string]*logv1.Member{},
		requests: map[string]*logv1.RequestRecord{},
	}
}

func (j *memRegistryFile) Append(d *logv1.Delta) {
	if j.onAppend != nil {
		j.onAppend(d)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if d.Index <= j.meta.Index || d.Term < j.meta.Term || d.LogTime < j.meta.LogTime {
		panic(fmt.Sprintf("delta goes back: %+v after %v", d, j.meta))
	}
	revision := j.meta.Revision
	for _, e := range d.Events {
		if revision++; e.Revision != revision {
			panic(fmt.Sprintf("event has revision %d, want %d", e.Revision, revision))
		}
	}
	if revision != d.Revision {
		panic(fmt.Sprintf("delta is of revision %d, its events go to %d", d.Revision, revision))
	}
	seen := map[string]bool{}
	once := func(name string) {
		if seen[name] {
			panic(fmt.Sprintf("%q is twice in a delta", name))
		}
		seen[name] = true
	}
	for _, r := range d.Services {
		once(r.Service)
		j.services[r.Service] = r
	}
	for _, name := range d.DeletedServices {
		once(name)
		delete(j.services, name)
	}
	for _, m := range d.Members {
		once("member " + m.Name)
		j.members[m.Name] = m
	}
	for _, key := range d.DeletedRequests {
		once("request " + key)
		if j.requests[key] == nil {
			panic(fmt.Sprintf("request %x is deleted, and not there", key))
		}
		delete(j.requests, key)
	}
	for _, r := range d.Requests {
		once("request " + r.Key())
		if j.requests[r.Key()] != nil && r.Index != 0 {
			panic(fmt.Sprintf("request %v is there already", r))
		}
		j.requests[r.Key()] = r
	}
	j.events = append(j.events, d.Events...)
	j.deltas = append(j.deltas, d)
	j.meta = &logv1.RegistryMeta{
		Index: d.Index, Term: d.Term, Revision: d.Revision, LogTime: d.LogTime, ClusterId: d.ClusterID,
		StateHash: d.StateHash, Horizon: d.Horizon, Level: logv1.LevelNumber(d.Level),
	}
}

func (j *memRegistryFile) Load(v logv1.Visitor) (*logv1.RegistryMeta, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.loadErr != nil {
		return nil, j.loadErr
	}
	for _, name := range slices.Sorted(maps.Keys(j.services)) {
		if err := v.Service(proto.CloneOf(j.services[name])); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.members)) {
		if err := v.Member(proto.CloneOf(j.members[name])); err != nil {
			return nil, err
		}
	}
	for _, r := range j.requests { // in any order
		if err := v.Request(proto.CloneOf(r)); err != nil {
			return nil, err
		}
	}
	return proto.CloneOf(j.meta), nil
}

func (j *memRegistryFile) Scan(_ context.Context, v logv1.Visitor) (*logv1.RegistryMeta, error) {
	return j.Load(v)
}

func (j *memRegistryFile) DurableRevision() int64 {
	if j.durable != nil {
		return j.durable()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.meta.Revision
}

// read returns the durable events, of which those below the span's Oldest are only a base.
func (j *memRegistryFile) read() ([]*logv1.Event, logv1.EventSpan, error) {
	if j.onRead != nil {
		if err := j.onRead(); err != nil {
			return nil, logv1.EventSpan{}, err
		}
	}
	durable := j.DurableRevision()
	j.mu.Lock()
	defer j.mu.Unlock()
	span := logv1.EventSpan{Oldest: max(j.meta.GetHorizon(), 1), Newest: durable}
	base := map[string]int64{}
	for _, e := range j.events {
		if e.Revision < span.Oldest {
			base[e.Service] = e.Revision
		}
	}
	var kept []*logv1.Event
	for _, e := range j.events {
		if e.Revision <= durable && (e.Revision >= span.Oldest || base[e.Service] == e.Revision && e.Type != logv1.EventType_EVENT_TYPE_DELETED) {
			kept = append(kept, e)
		}
	}
	return kept, span, nil
}

func (j *memRegistryFile) Events(_ context.Context, q logv1.EventQuery, visit func(*logv1.Event) (bool, error)) (logv1.EventSpan, error) {
	events, span, err := j.read()
	if err != nil {
		return span, err
	}
	if q.Descending {
		slices.Reverse(events)
	}
	for _, e := range events {
		if e.Revision < q.From || q.To > 0 && e.Revision > q.To || q.Service != "" && e.Service != q.Service {
			continue
		}
		if more, err := visit(e); err != nil || !more {
			return span, err
		}
	}
	return span, nil
}

func (j *memRegistryFile) EventsAt(_ context.Context, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (bool, error)) (logv1.EventSpan, error) {
	events, span, err := j.read()
	if err != nil {
		return span, err
	}
	newest := map[string]*logv1.Event{}
	for _, e := range events {
		if e.Revision <= revision && e.Service != "" && strings.HasPrefix(e.Service, prefix) && e.Service > after {
			newest[e.Service] = e
		}
	}
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		if limit--; limit < 0 {
			break
		}
		if more, err := visit(newest[name]); err != nil || !more {
			return span, err
		}
	}
	return span, nil
}

func (j *memRegistryFile) RevisionAt(_ context.Context, time int64) (int64, logv1.EventSpan, error) {
	events, span, err := j.read()
	if err != nil {
		return 0, span, err
	}
	at := int64(0)
	for _, e := range events {
		if e.Revision >= span.Oldest && e.Time <= time {
			at = e.Revision
		}
	}
	if at == 0 && span.Oldest > 1 {
		return 0, span, &logv1.CompactedError{Asked: span.Oldest - 1, Oldest: span.Oldest}
	}
	return at, span, nil
}

func (j *memRegistryFile) AwaitDurable(ctx context.Context, revision int64) error {
	if j.onAwait != nil {
		j.onAwait(revision)
	}
	for j.DurableRevision() < revision {
		if err := ctx.Err(); err != nil {
			return err
		}
		runtime.Gosched()
	}
	return nil
}

// memSnapshot is what a snapshot's stream holds.
type memSnapshot struct {
	Meta     []byte
	Services [][]byte
	Members  [][]byte
	Requests [][]byte
	Events   [][]byte
}

func (j *memRegistryFile) Snapshot() (raft.FSMSnapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &memSnapshot{Meta: marshal(j.meta)}
	for _, name := range slices.Sorted(maps.Keys(j.services)) {
		s.Services = append(s.Services, marshal(j.services[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(j.members)) {
		s.Members = append(s.Members, marshal(j.members[name]))
	}
	for _, key := range slices.Sorted(maps.Keys(j.requests)) {
		s.Requests = append(s.Requests, marshal(j.requests[key]))
	}
	for _, e := range j.events {
		s.Events = append(s.Events, marshal(e))
	}
	return s, nil
}

func (s *memSnapshot) Persist(sink raft.SnapshotSink) error {
	return errors.Join(gob.NewEncoder(sink).Encode(s), sink.Close())
}

func (s *memSnapshot) Release() {}

// stream returns the bytes that Persist would write.
func (s *memSnapshot) stream() io.ReadCloser {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		panic(err)
	}
	return io.NopCloser(&b)
}

func (j *memRegistryFile) Replace(r io.Reader) error {
	if j.replaceErr != nil {
		return j.replaceErr
	}
	var s memSnapshot
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	fresh := newMemRegistryFile()
	unmarshal(s.Meta, fresh.meta)
	for _, b := range s.Services {
		r := &logv1.ServiceRecord{}
		unmarshal(b, r)
		fresh.services[r.Service] = r
	}
	for _, b := range s.Members {
		m := &logv1.Member{}
		unmarshal(b, m)
		fresh.members[m.Name] = m
	}
	for _, b := range s.Requests {
		r := &logv1.RequestRecord{}
		unmarshal(b, r)
		fresh.requests[r.Key()] = r
	}
	for _, b := range s.Events {
		e := &logv1.Event{}
		unmarshal(b, e)
		fresh.events = append(fresh.events, e)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.meta, j.services, j.members, j.events = fresh.meta, fresh.services, fresh.members, fresh.events
	j.requests = fresh.requests
	return nil
}

// dump is a canonical text of all that the registry file holds.
func (j *memRegistryFile) dump() string {
	s, _ := j.Snapshot()
	return fmt.Sprintf("%q", s)
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func unmarshal(b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		panic(err)
	}
}
