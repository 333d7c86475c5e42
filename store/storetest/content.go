package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Content is what a registry file holds.
type Content struct {
	Meta    *logv1.RegistryMeta
	Records map[logv1.Kind]map[string][]byte // kinds of which there are any
}

// Loader is a registry file.
type Loader interface {
	Load(logv1.Visitor) (*logv1.RegistryMeta, error)
}

// LoadContent loads all.
func LoadContent(j Loader) (Content, error) {
	c := Content{Records: map[logv1.Kind]map[string][]byte{}}
	meta, err := j.Load(c.Visitor())
	c.Meta = meta
	return c, err
}

// Visitor adds to c what it visits, and requires each part and record once.
func (c Content) Visitor() logv1.Visitor {
	var mu sync.Mutex
	type place struct {
		kind logv1.Kind
		part int
	}
	seen := map[place]bool{}
	return logv1.VisitorFunc(func(kind logv1.Kind, part int, records []logv1.KeyValue) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[place{kind, part}] {
			return fmt.Errorf("part %d of kind %d comes twice", part, kind)
		}
		seen[place{kind, part}] = true
		for _, r := range records {
			if c.Records[kind] == nil {
				c.Records[kind] = map[string][]byte{}
			}
			if c.Records[kind][string(r.Key)] != nil {
				return fmt.Errorf("%q of kind %d comes twice", r.Key, kind)
			}
			c.Records[kind][string(r.Key)] = append([]byte{}, r.Value...)
		}
		return nil
	})
}

// Services returns the services as they are stored.
func (c Content) Services() map[string][]byte { return c.Records[logv1.Kind_KIND_SERVICE] }

// Apply returns c after the records of d.
func (c Content) Apply(d *logv1.Delta) Content {
	next := Content{Meta: c.Meta, Records: map[logv1.Kind]map[string][]byte{}}
	for kind, records := range c.Records {
		next.Records[kind] = maps.Clone(records)
	}
	for _, r := range d.Records {
		if next.Records[r.Kind] == nil {
			next.Records[r.Kind] = map[string][]byte{}
		}
		if r.Value == nil {
			delete(next.Records[r.Kind], r.Key)
		} else {
			next.Records[r.Kind][r.Key] = Bytes(r.Value)
		}
	}
	for kind, records := range next.Records {
		if len(records) == 0 {
			delete(next.Records, kind)
		}
	}
	return next
}

// Holding returns the content that records make.
func Holding(meta *logv1.RegistryMeta, records ...logv1.Record) Content {
	return Content{Meta: meta}.Apply(&logv1.Delta{Records: records})
}

// Bytes are those of a value.
func Bytes(v logv1.Value) []byte {
	b, err := logv1.AppendValue([]byte{}, v)
	if err != nil {
		panic(err)
	}
	return b
}

// Service is r to be put.
func Service(r *logv1.ServiceRecord) logv1.Record {
	nameless := proto.CloneOf(r)
	nameless.Service = ""
	return logv1.Record{Kind: logv1.Kind_KIND_SERVICE, Key: r.GetService(), Value: nameless}
}

// NoService is a service to be deleted.
func NoService(name string) logv1.Record {
	return logv1.Record{Kind: logv1.Kind_KIND_SERVICE, Key: name}
}

// Member is m to be put.
func Member(m *logv1.Member) logv1.Record {
	return logv1.Record{Kind: logv1.Kind_KIND_MEMBER, Key: m.GetName(), Value: m}
}

// Request is a request id to be put, of the command at a place in the log.
func Request(index uint64, position uint32, r *logv1.RequestRecord) logv1.Record {
	return logv1.Record{Kind: logv1.Kind_KIND_REQUEST, Key: logv1.RequestKey(index, position), Value: r}
}

// Differ compares contents, the directory aside.
func Differ(a, b Content) error {
	am, bm := proto.CloneOf(a.Meta), proto.CloneOf(b.Meta)
	am.DirectoryId, bm.DirectoryId = "", ""
	if !proto.Equal(am, bm) {
		return fmt.Errorf("meta %v, want %v", am, bm)
	}
	for _, c := range [2]Content{a, b} {
		for kind := range c.Records {
			if len(a.Records[kind]) != len(b.Records[kind]) {
				return fmt.Errorf("%d records of kind %d, want %d", len(a.Records[kind]), kind, len(b.Records[kind]))
			}
			for key, r := range c.Records[kind] {
				if !bytes.Equal(a.Records[kind][key], b.Records[kind][key]) {
					return fmt.Errorf("%q of kind %d, of %d bytes: %x, want %x", key, kind, len(r), a.Records[kind][key], b.Records[kind][key])
				}
			}
		}
	}
	return nil
}

// Same requires two contents to be equal, the directory aside.
func Same(t testing.TB, have, want Content) {
	t.Helper()
	if err := Differ(have, want); err != nil {
		t.Error(err)
	}
}

// Change is a delta of one log entry that reports one service.
func Change(index uint64, service string) *logv1.Delta {
	revision := int64(index)
	return &logv1.Delta{
		Index: index, Term: 1, Revision: revision, LogTime: int64(index) * 1000, ClusterID: "3f9a",
		Records: []logv1.Record{Service(&logv1.ServiceRecord{Service: service, Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Revision: revision}})},
		Events: []*logv1.Event{{Revision: revision, CommitRevision: revision, Kind: logv1.Kind_KIND_SERVICE, Key: service, Type: logv1.EventType_EVENT_TYPE_REPORTED,
			Status: logv1.Status_STATUS_SERVING}},
	}
}

// HundredChangesOf is the i-th delta of 100 changes, which go round and round so many services.
func HundredChangesOf(i, services int) *logv1.Delta {
	d := &logv1.Delta{Index: uint64(i) + 1, Term: 1, Revision: int64(i+1) * 100, LogTime: int64(i+1) * 100, ClusterID: "3f9a"}
	for k := range 100 {
		name := fmt.Sprintf("shop/svc-%d", (i*100+k)*7919%services)
		revision := int64(i*100 + k + 1)
		d.Records = append(d.Records, Service(&logv1.ServiceRecord{Service: name, Report: &logv1.Report{Reason: "release 4711", Revision: revision}}))
		d.Events = append(d.Events, &logv1.Event{Revision: revision, CommitRevision: int64(i+1) * 100, Time: d.LogTime, Kind: logv1.Kind_KIND_SERVICE, Key: name, Reason: "release 4711"})
	}
	return d
}

// Kinds are those of registry.Kinds that tests use: services and members have events, members belong to a
// cluster. The record after an event of a service is what Change makes of it.
type Kinds struct{}

// Name implements registry.Kinds.
func (Kinds) Name(kind logv1.Kind) string { return kind.String() }

// HasHistory implements registry.Kinds.
func (Kinds) HasHistory(kind logv1.Kind) bool {
	return kind == logv1.Kind_KIND_SERVICE || kind == logv1.Kind_KIND_MEMBER
}

// PerCluster implements registry.Kinds.
func (Kinds) PerCluster(kind logv1.Kind) bool { return kind == logv1.Kind_KIND_MEMBER }

// After implements registry.Kinds.
func (Kinds) After(e *logv1.Event) []byte {
	if e.GetKind() != logv1.Kind_KIND_SERVICE {
		return e.GetAfter()
	}
	return Bytes(ServiceAfter(e))
}

// ServiceAfter is the record of a service after its event.
func ServiceAfter(e *logv1.Event) *logv1.ServiceRecord {
	return &logv1.ServiceRecord{StatusTime: e.GetStatusTime(), Report: &logv1.Report{
		Status: e.GetStatus(), Reason: e.GetReason(), Actor: e.GetActor(), Time: e.GetTime(), Revision: e.GetRevision(),
		RequestId: e.GetRequestId(), LeaseId: e.AttachedTo(),
	}}
}
