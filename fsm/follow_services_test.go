package fsm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// mirror is what a client makes of the messages of one WatchServices.
type mirror struct {
	t testing.TB

	mu       sync.Mutex       // guards what follows
	state    map[string]int64 // name → revision of its report
	records  map[string]*rollcallv1.ServiceRecord
	revision int64
	synced   bool
	messages int
	largest  int
	repeats  int
	keep     func(name string) bool // nil: all
}

func (m *mirror) take(msg *rollcallv1.WatchServicesResponse) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages++
	if msg.GetRevision() < m.revision {
		m.t.Errorf("revision %d comes after %d", msg.GetRevision(), m.revision)
	}
	m.revision, m.synced = msg.GetRevision(), msg.GetSynced()
	for _, r := range msg.GetServices() {
		revision := r.GetReport().GetRevision()
		if revision > m.revision {
			m.t.Errorf("a record of revision %d comes with revision %d", revision, m.revision)
		}
		switch known := m.state[r.GetService()]; {
		case revision < known:
			m.t.Errorf("%s goes back from %d to %d", r.GetService(), known, revision)
		case revision == known:
			m.repeats++
		}
		m.state[r.GetService()] = revision
		if m.records == nil {
			m.records = map[string]*rollcallv1.ServiceRecord{}
		}
		m.records[r.GetService()] = r
	}
	for _, name := range msg.GetDeleted() {
		if m.keep != nil && !m.keep(name) {
			m.t.Errorf("%s is told of", name)
		}
		delete(m.state, name)
		delete(m.records, name)
	}
	m.largest = max(m.largest, len(msg.GetServices()))
	return nil
}

// compare with what f shows now.
func (m *mirror) compare(f *FSM, prefixes []string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	v := f.view.Load()
	want := map[string]int64{}
	v.services.Scan(func(r *record) bool {
		if (len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(r.name, p) })) && (m.keep == nil || m.keep(r.name)) {
			want[r.name] = r.revision
			if have := m.records[r.name]; !proto.Equal(have, v.public(r)) {
				m.t.Fatalf("at %d it is\n%v; at %d the registry has\n%v", m.revision, have, v.revision, v.public(r))
			}
		}
		return true
	})
	if !maps.Equal(m.state, want) || m.revision != v.revision {
		m.t.Fatalf("at %d it is\n%v; at %d the registry is\n%v", m.revision, m.state, v.revision, want)
	}
}

// TestServicesAreOneCutWhenSynced steps a follower of services between writes: however its pages fall,
// after every synced message what it was sent is exactly the registry of that revision.
func TestServicesAreOneCutWhenSynced(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := newMemRegistryFile()
		limits := history.DefaultLimits()
		limits.Page = history.PageLimits{Count: rapid.IntRange(1, 8).Draw(rt, "page"), Bytes: 1 << 20}
		f, err := New(Config{RegistryFile: j, RingEvents: rapid.IntRange(1, 50).Draw(rt, "ring"), limits: limits})
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		h := &harness{FSM: f, registryFile: j}
		var prefixes []string
		if rapid.Bool().Draw(rt, "prefixes") {
			prefixes = []string{"c", "a", "ab"}
		}
		var time int64
		overrides := rapid.Bool().Draw(rt, "overrides")
		something := func() {
			time++
			if overrides && rapid.IntRange(0, 2).Draw(rt, "what") == 0 {
				p := rapid.SampledFrom([]string{"a", "c2", "ab/*", "c/*", "c.*", "*", "**"}).Draw(rt, "pattern")
				cmd := because(over(p, rapid.SampledFrom([]logv1.Status{serving, notServing}).Draw(rt, "shown")), fmt.Sprint(time))
				if rapid.Bool().Draw(rt, "clear") {
					cmd = clearing(&logv1.ClearOverride{Pattern: p, AllowMissing: true})
				}
				h.do(t, time, cmd)
				return
			}
			names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a1", "ab", "ab1", "b", "b1", "c", "c/1", "c.2", "c/3", "c2", "d", "ab/x"}), 1, 6, rapid.ID).Draw(rt, "names")
			var cs []*logv1.Change
			for _, name := range names {
				cs = append(cs, change(name, rapid.SampledFrom([]logv1.Status{serving, notServing, gone}).Draw(rt, "status")))
			}
			h.do(t, time, writeFor(fmt.Sprint(time), cs...))
		}
		for range rapid.IntRange(0, 10).Draw(rt, "before") {
			something()
		}
		m := &mirror{t: t, state: map[string]int64{}}
		if rapid.Bool().Draw(rt, "keep") {
			m.keep = pattern.Cover("a", "ab/*", "c/*", "d").Has
		}
		s := f.followers.Scan(prefixes, logv1.Following{Keep: m.keep})
		syncs := 0
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			for range rapid.IntRange(0, 3).Draw(rt, "writes") {
				something()
			}
			msg, err := s.Next(context.Background())
			if err != nil {
				rt.Fatal(err)
			}
			m.take(msg)
			if m.synced {
				syncs++
				m.compare(f, prefixes)
			}
		}
		for m.synced = false; !m.synced; {
			msg, err := s.Next(context.Background())
			if err != nil {
				rt.Fatal(err)
			}
			m.take(msg)
		}
		m.compare(f, prefixes)
		if m.repeats > 0 && !overrides {
			rt.Errorf("%d records were sent again", m.repeats)
		}
	})
}

// TestEveryServiceHasItsTurn: overrides that change faster than a follower can read all that they cover do not keep
// it at the first names.
func TestEveryServiceHasItsTurn(t *testing.T) {
	limits := history.DefaultLimits()
	limits.Page = history.PageLimits{Count: 4, Bytes: 1 << 20}
	j := newMemRegistryFile()
	f, err := New(Config{RegistryFile: j, RingEvents: 100, limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := &harness{FSM: f, registryFile: j}
	var cs []*logv1.Change
	for i := range 20 {
		cs = append(cs, change(fmt.Sprintf("s%02d", i), serving))
	}
	h.do(t, 1, write(cs...))
	s, m := f.followers.Scan(nil, logv1.Following{}), &mirror{t: t, state: map[string]int64{}}
	next := func() *rollcallv1.WatchServicesResponse {
		msg, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.take(msg)
		return msg
	}
	for !next().GetSynced() {
		continue
	}
	told := map[string]bool{}
	for i := range 12 {
		h.do(t, int64(i+2), over([]string{"*", "**"}[i%2], []logv1.Status{notServing, unknown, serving}[i%3]))
		for _, r := range next().GetServices() {
			told[r.GetService()] = true
		}
	}
	if len(told) != 20 {
		t.Errorf("told of %d of 20 services: %v", len(told), slices.Sorted(maps.Keys(told)))
	}
	for !next().GetSynced() {
		continue
	}
	m.compare(f, nil)
}

func TestFollowServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := history.DefaultLimits()
		limits.Page.Count = 2
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), limits: limits})
		ctx, cancel := context.WithCancel(t.Context())
		m := &mirror{t: t, state: map[string]int64{}}
		done := make(chan error, 1)
		go func() {
			done <- h.FollowServices(ctx, []string{"shop/"}, logv1.Following{Quiet: 10 * time.Second}, nil, m.take)
		}()
		messages := func(why string, want int) {
			t.Helper()
			synctest.Wait()
			m.mu.Lock()
			got, synced := m.messages, m.synced
			m.messages = 0
			m.revision = max(m.revision, h.Revision()) // other names move it, too
			m.mu.Unlock()
			if got != want || !synced {
				t.Fatalf("%s: %d messages, synced %v; want %d", why, got, synced, want)
			}
			m.compare(h.FSM, []string{"shop/"})
		}
		messages("an empty registry", 1)
		h.do(t, 1, batchOf("shop", 5, serving))
		messages("a write larger than a page", 3)
		h.do(t, 2, write(change("shop/1", gone), change("shop/2", notServing)))
		messages("a deletion and a change", 1)
		h.do(t, 3, batchOf("other", 5, serving))
		messages("others", 0)
		time.Sleep(10 * time.Second)
		messages("the quiet after it", 1)
		time.Sleep(time.Minute)
		messages("a quiet in which nothing happened", 0)
		cancel()
		<-done

		m = &mirror{t: t, state: map[string]int64{}}
		ctx, cancel = context.WithCancel(t.Context())
		go func() { done <- h.FollowServices(ctx, nil, logv1.Following{Quiet: time.Hour}, nil, m.take) }()
		synctest.Wait()
		if m.messages < 5 || m.largest != 2 || !m.synced {
			t.Errorf("9 services came in %d messages of at most %d", m.messages, m.largest)
		}
		m.compare(h.FSM, nil)
		cancel()
		<-done
	})
}

// A node that does not know yet what there is sends what it has, and does not say that this is all.
func TestServicesAreSyncedOnlyOnceAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		ctx, cancel := context.WithCancel(t.Context())
		complete := make(chan struct{})
		var got []string
		done := make(chan error, 1)
		go func() {
			done <- h.FollowServices(ctx, nil, logv1.Following{Quiet: 10 * time.Second}, complete, func(m *rollcallv1.WatchServicesResponse) error {
				got = append(got, fmt.Sprintf("%d@%d %t", len(m.GetServices()), m.GetRevision(), m.GetSynced()))
				return nil
			})
		}()
		synctest.Wait()
		h.do(t, 1, batchOf("shop", 2, serving))
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		h.do(t, 2, write(change("shop/1", notServing)))
		close(complete)
		synctest.Wait()
		h.do(t, 3, write(change("shop/1", serving)))
		synctest.Wait()
		cancel()
		<-done
		want := []string{"0@0 false", "2@2 false", "1@3 true", "1@4 true"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// One that is stuck keeps no view: only what it is sending.
func TestAStuckFollowerOfServicesFallsBehind(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, batchOf("a", 5, serving))
	err := h.FollowServices(t.Context(), nil, logv1.Following{Quiet: time.Hour}, nil, func(msg *rollcallv1.WatchServicesResponse) error {
		for i := range 3 {
			h.do(t, int64(2+i), batchOf(fmt.Sprint(i), 5, serving))
		}
		h.history.Reset(h.Revision())
		h.do(t, 9, compact(15))
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the oldest is 15") {
		t.Errorf("it ended with %v", err)
	}
}
