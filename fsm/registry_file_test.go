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
	mu      sync.Mutex
	meta    *logv1.RegistryMeta
	records map[logv1.Kind]map[string][]byte
	events  []*logv1.Event
	deltas  []*logv1.Delta

	replaceErr error
	loadErr    error
	durable    func() int64
	onRead     func() error // called before each reading of events
	onAwait    func(revision int64)
	onAppend   func(*logv1.Delta)
}

func newMemRegistryFile() *memRegistryFile {
	return &memRegistryFile{meta: &logv1.RegistryMeta{}, records: map[logv1.Kind]map[string][]byte{}}
}

func (j *memRegistryFile) put(kind logv1.Kind, key string, value []byte) {
	if j.records[kind] == nil {
		j.records[kind] = map[string][]byte{}
	}
	j.records[kind][key] = value
}

// setService puts a service behind the fold's back.
func (j *memRegistryFile) setService(r *logv1.ServiceRecord) {
	r = proto.CloneOf(r)
	name := r.Service
	r.Service = ""
	j.put(logv1.Kind_KIND_SERVICE, name, appendValue(nil, r))
}

func (j *memRegistryFile) service(name string) *logv1.ServiceRecord {
	r := &logv1.ServiceRecord{}
	unmarshal(j.records[logv1.Kind_KIND_SERVICE][name], r)
	r.Service = name
	return r
}

// editRequest changes a request id behind the fold's back.
func (j *memRegistryFile) editRequest(key string, edit func(*logv1.RequestRecord)) {
	r := &logv1.RequestRecord{}
	unmarshal(j.records[logv1.Kind_KIND_REQUEST][key], r)
	edit(r)
	j.put(logv1.Kind_KIND_REQUEST, key, appendValue(nil, r))
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
	seen := map[recordKey]bool{}
	for _, r := range d.Records {
		at := recordKey{r.Kind, r.Key}
		if seen[at] {
			panic(fmt.Sprintf("%v is twice in a delta", at))
		}
		seen[at] = true
		if r.Kind == logv1.Kind_KIND_REQUEST && (r.Value == nil) != (j.records[r.Kind][r.Key] != nil) {
			panic(fmt.Sprintf("request %x is put twice, or deleted and not there", r.Key))
		}
		if r.Value == nil {
			delete(j.records[r.Kind], r.Key)
			continue
		}
		j.put(r.Kind, r.Key, appendValue(nil, r.Value))
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
	for _, kind := range slices.Sorted(maps.Keys(j.records)) {
		var part []logv1.KeyValue
		for _, key := range slices.Sorted(maps.Keys(j.records[kind])) {
			part = append(part, logv1.KeyValue{Key: []byte(key), Value: bytes.Clone(j.records[kind][key])})
		}
		// In two parts, of which the second comes first.
		for number, records := range [2][]logv1.KeyValue{part[len(part)/2:], part[:len(part)/2]} {
			if err := v.Records(kind, 1-number, records); err != nil {
				return nil, err
			}
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
	base := map[recordKey]int64{}
	for _, e := range j.events {
		if e.Revision < span.Oldest {
			base[recordKey{e.Kind, e.Key}] = e.Revision
		}
	}
	var kept []*logv1.Event
	for _, e := range j.events {
		if e.Revision <= durable && (e.Revision >= span.Oldest || base[recordKey{e.Kind, e.Key}] == e.Revision && !e.Deletes && !e.Ends) {
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
		if e.Revision < q.From || q.To > 0 && e.Revision > q.To || !q.Wants(e) {
			continue
		}
		if more, err := visit(e); err != nil || !more {
			return span, err
		}
	}
	return span, nil
}

func (j *memRegistryFile) EventsAt(_ context.Context, kind logv1.Kind, revision int64, prefix, after string, limit int, visit func(*logv1.Event) (bool, error)) (logv1.EventSpan, error) {
	events, span, err := j.read()
	if err != nil {
		return span, err
	}
	newest := map[string]*logv1.Event{}
	for _, e := range events {
		if e.Revision <= revision && e.Kind == kind && strings.HasPrefix(e.Key, prefix) && e.Key > after {
			newest[e.Key] = e
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
	Meta    []byte
	Records []memRecord
	Events  [][]byte
}

type memRecord struct {
	Kind  logv1.Kind
	Key   string
	Value []byte
}

func (j *memRegistryFile) Snapshot() (raft.FSMSnapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &memSnapshot{Meta: marshal(j.meta)}
	for _, kind := range slices.Sorted(maps.Keys(j.records)) {
		for _, key := range slices.Sorted(maps.Keys(j.records[kind])) {
			s.Records = append(s.Records, memRecord{kind, key, j.records[kind][key]})
		}
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
	for _, r := range s.Records {
		fresh.put(r.Kind, r.Key, r.Value)
	}
	for _, b := range s.Events {
		e := &logv1.Event{}
		unmarshal(b, e)
		fresh.events = append(fresh.events, e)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.meta, j.records, j.events = fresh.meta, fresh.records, fresh.events
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
