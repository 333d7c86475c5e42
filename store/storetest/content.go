package storetest

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"

	"google.golang.org/protobuf/proto"
)

// Content is what a registry file holds.
type Content struct {
	Meta     *logv1.RegistryMeta
	Services map[string]*logv1.ServiceRecord
	Members  map[string]*logv1.Member
	Requests map[string]*logv1.RequestRecord // by key
}

// Loader is a registry file.
type Loader interface {
	Load(logv1.Visitor) (*logv1.RegistryMeta, error)
}

// LoadContent loads all, one record after the other and in parts, which have to agree.
func LoadContent(j Loader) (Content, error) {
	c := Content{Services: map[string]*logv1.ServiceRecord{}, Members: map[string]*logv1.Member{}, Requests: map[string]*logv1.RequestRecord{}}
	var err error
	c.Meta, err = j.Load(logv1.Visitor{
		Service: func(r *logv1.ServiceRecord) error { c.Services[r.GetService()] = r; return nil },
		Member:  func(m *logv1.Member) error { c.Members[m.GetName()] = m; return nil },
		Request: func(r *logv1.RequestRecord) error { c.Requests[r.Key()] = r; return nil },
	})
	if inParts, partsErr := LoadServicesInParts(j); fmt.Sprint(err) != fmt.Sprint(partsErr) {
		err = fmt.Errorf("loading in parts: %w; one by one: %v", partsErr, err)
	} else if err == nil && !maps.EqualFunc(c.Services, inParts, func(a, b *logv1.ServiceRecord) bool { return proto.Equal(a, b) }) {
		err = errors.New("loading in parts gives other services")
	}
	return c, err
}

// LoadServicesInParts loads the services in parts.
func LoadServicesInParts(j Loader) (map[string]*logv1.ServiceRecord, error) {
	var mu sync.Mutex
	services := map[string]*logv1.ServiceRecord{}
	numbers := map[int]bool{}
	_, err := j.Load(logv1.Visitor{Services: func(number int, part []logv1.ServiceBytes) error {
		mu.Lock()
		defer mu.Unlock()
		if numbers[number] {
			return fmt.Errorf("part %d comes twice", number)
		}
		numbers[number] = true
		for i := range part {
			r, err := WholeService(&part[i])
			if err != nil {
				return err
			}
			services[r.GetService()] = r
		}
		return nil
	}})
	return services, err
}

// WholeService puts together what was taken apart.
func WholeService(s *logv1.ServiceBytes) (*logv1.ServiceRecord, error) {
	r := &logv1.ServiceRecord{Service: string(s.Service), StatusTime: s.StatusTime}
	if !s.Reported {
		return r, nil
	}
	var err error
	if r.Report, err = s.Report(); err != nil {
		return nil, err
	}
	r.Report.Status, r.Report.Revision = s.Status, s.Revision
	return r, nil
}

// Differ compares contents, the directory aside.
func Differ(a, b Content) error {
	am, bm := proto.CloneOf(a.Meta), proto.CloneOf(b.Meta)
	am.DirectoryId, bm.DirectoryId = "", ""
	if !proto.Equal(am, bm) {
		return fmt.Errorf("meta %v, want %v", am, bm)
	}
	if len(a.Services) != len(b.Services) || len(a.Members) != len(b.Members) {
		return fmt.Errorf("%d services and %d members, want %d and %d", len(a.Services), len(a.Members), len(b.Services), len(b.Members))
	}
	if len(a.Requests) != len(b.Requests) {
		return fmt.Errorf("%d requests, want %d", len(a.Requests), len(b.Requests))
	}
	for key, r := range a.Requests {
		if !proto.Equal(r, b.Requests[key]) {
			return fmt.Errorf("request %x: %v, want %v", key, r, b.Requests[key])
		}
	}
	for name, r := range a.Services {
		if !proto.Equal(r, b.Services[name]) {
			return fmt.Errorf("service %q: %v, want %v", name, r, b.Services[name])
		}
	}
	for name, m := range a.Members {
		if !proto.Equal(m, b.Members[name]) {
			return fmt.Errorf("member %q: %v, want %v", name, m, b.Members[name])
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
		Services: []*logv1.ServiceRecord{{Service: service, Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Revision: revision}}},
		Events: []*logv1.Event{{Revision: revision, CommitRevision: revision, Service: service, Type: logv1.EventType_EVENT_TYPE_REPORTED,
			Status: logv1.Status_STATUS_SERVING}},
	}
}

// HundredChangesOf is the i-th delta of 100 changes, which go round and round so many services.
func HundredChangesOf(i, services int) *logv1.Delta {
	d := &logv1.Delta{Index: uint64(i) + 1, Term: 1, Revision: int64(i+1) * 100, LogTime: int64(i+1) * 100, ClusterID: "3f9a"}
	for k := range 100 {
		name := fmt.Sprintf("shop/svc-%d", (i*100+k)*7919%services)
		revision := int64(i*100 + k + 1)
		d.Services = append(d.Services, &logv1.ServiceRecord{Service: name, Report: &logv1.Report{Reason: "release 4711", Revision: revision}})
		d.Events = append(d.Events, &logv1.Event{Revision: revision, CommitRevision: int64(i+1) * 100, Time: d.LogTime, Service: name, Reason: "release 4711"})
	}
	return d
}
