package view

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// modelWatch is a watch of one half: what it has been told, as WatchNames tells it.
type modelWatch struct {
	w       *watch
	cluster *fakeCluster
	at      int          // revision that it has told; -1: nothing, or it begins anew
	told    int          // the same, also while it begins anew
	in      *fakeCluster // that told is of
	reset   bool
}

// expected is what the model says of a name: an independent, slower way to the same.
type expected struct {
	off, held bool
	cluster   string
	record    *rollcallv1.ServiceRecord
	heard     bool
}

func (e expected) same(o expected) bool {
	a, b := e.record, o.record
	e.record, o.record = nil, nil
	return e == o && sameRecord(a, b)
}

func (e expected) String() string {
	return fmt.Sprintf("off %t, held %t, heard %t, of %s, %v", e.off, e.held, e.heard, e.cluster, e.record)
}

// world is the model: clusters with all their revisions, and what a View must hold of them.
type world struct {
	t       *rapid.T
	v       *View
	names   []string
	watches []*modelWatch
	newest  *fakeCluster
	founded int
	home    string
	seen    int // newest revision of home that a watch told
	want    map[string]expected
}

// TestModel has two watches tell what they see of one registry after the other, each at its own pace, with streams that
// break and nodes that are behind, and compares what the View holds, and what wakes those who wait, with the model.
func TestModel(t *testing.T) {
	c, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:1", "127.0.0.1:2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c"}
		v, err := New(c, names)
		if err != nil {
			rt.Fatal(err)
		}
		m := &world{t: rt, v: v, names: names, newest: newFakeCluster("c1"), want: map[string]expected{}}
		for _, w := range v.watches {
			m.watches = append(m.watches, &modelWatch{w: w, cluster: m.newest, at: -1})
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write":   func(*rapid.T) { m.write() },
			"write 2": func(*rapid.T) { m.write() },
			"tell":    func(*rapid.T) { m.tell(m.watch()) },
			"tell 2":  func(*rapid.T) { m.tell(m.watch()) },
			"reopen":  func(*rapid.T) { w := m.watch(); w.at, w.w.anew = -1, true }, // a watch made anew, at a node that may be behind
			"found": func(*rapid.T) {
				m.founded++
				m.newest = newFakeCluster(fmt.Sprintf("c%d", 1+m.founded))
			},
			"move": func(*rapid.T) {
				if w := m.watch(); w.cluster != m.newest {
					w.cluster, w.reset, w.at = m.newest, w.at >= 0, -1
				}
			},
			"": func(*rapid.T) { m.check() },
		})
	})
}

func (m *world) watch() *modelWatch { return rapid.SampledFrom(m.watches).Draw(m.t, "watch") }

// write makes one revision of the newest cluster.
func (m *world) write() {
	name := rapid.SampledFrom(m.names).Draw(m.t, "name")
	s := rapid.SampledFrom([]client.Status{client.Serving, client.NotServing, client.Unknown}).Draw(m.t, "status")
	m.newest.change(func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
		switch what := rapid.SampledFrom([]string{"report", "leased", "override", "clear", "delete"}).Draw(m.t, "write"); what {
		case "report", "leased":
			r := reported(name, s, revision)
			if what == "leased" {
				r.Report.LeaseId = "l"
			}
			if o := state[name].GetOverride(); o != nil {
				r.Override, r.Status = o, o.GetStatus()
			}
			state[name] = r
		case "override":
			if r := state[name]; r != nil {
				state[name] = overridden(r, s, revision, time.Time{})
			}
		case "clear":
			if r := state[name]; r.GetOverride() != nil {
				state[name] = &rollcallv1.ServiceRecord{Service: name, Status: r.GetReport().GetStatus(), Report: r.GetReport()}
			}
		case "delete":
			delete(state, name)
		}
	})
}

// tell has a watch tell the state of a revision of its cluster that is not older than what it told before; of a watch
// that begins anew any.
func (m *world) tell(w *modelWatch) {
	to := rapid.IntRange(max(w.at, 0), len(w.cluster.states)-1).Draw(m.t, "to")
	before, now := map[string]*rollcallv1.ServiceRecord{}, w.cluster.states[to]
	u := client.ServicesUpdate{Reset: w.reset, Revision: int64(to), Cluster: w.cluster.id, Synced: true}
	if w.at >= 0 {
		before = w.cluster.states[w.at]
	}
	for _, name := range m.names {
		switch {
		case now[name] == nil && (w.at < 0 || before[name] != nil):
			u.Deleted = append(u.Deleted, name)
		case now[name] != before[name]:
			u.Services = append(u.Services, now[name])
		}
	}
	parts := []client.ServicesUpdate{u}
	if len(u.Services)+len(u.Deleted) > 1 && w.at < 0 && m.home == w.cluster.id && rapid.Bool().Draw(m.t, "in parts") {
		first := u
		first.Deleted, first.Synced = nil, false
		u.Services, u.Reset = nil, false
		parts = []client.ServicesUpdate{first, u}
	}
	w.at, w.told, w.in, w.reset = to, to, w.cluster, false
	changed, was := m.v.Changed(), maps.Clone(m.want)
	for _, part := range parts {
		m.v.update(w.w, part)
	}
	m.expect(w)
	select {
	case <-changed:
		if maps.EqualFunc(m.want, was, expected.same) && len(parts) == 1 {
			m.t.Fatal("it wakes those who wait though nothing changed")
		}
	default:
		if !maps.EqualFunc(m.want, was, expected.same) {
			m.t.Fatalf("it wakes nobody; was %v, is %v", was, m.want)
		}
	}
}

// expect computes what the View must hold after w told something.
func (m *world) expect(w *modelWatch) {
	if m.home == "" {
		m.home = w.cluster.id
		m.seen = -1
	}
	told := slices.DeleteFunc(slices.Clone(m.watches), func(o *modelWatch) bool { return !o.w.spoke })
	inHome := func(o *modelWatch) bool { return o.w.cluster == m.home }
	if !slices.ContainsFunc(told, inHome) {
		m.home, m.seen = w.cluster.id, -1
		for _, o := range told { // all that hear it know it; the newest counts
			if inHome(o) && o.told > w.told {
				w = o
			}
		}
	}
	if w.in.id != m.home || w.told < m.seen {
		return
	}
	m.seen = w.told
	for _, name := range m.names {
		r, last := w.in.states[w.told][name], m.want[name]
		e := expected{off: r.GetStatus() == client.NotServing && r != nil, cluster: m.home, record: r, heard: true}
		if last.off && last.cluster != m.home {
			operator := r.GetOverride() != nil || r.GetReport().GetLeaseId() == "" && r.GetReport().GetStatus() != client.NotServing
			if r == nil || last.record.GetOverride() != nil && !operator {
				e = last
				e.held = true
			}
		}
		m.want[name] = e
	}
}

func (m *world) check() {
	for _, name := range m.names {
		o, want := m.v.Get(name), m.want[name]
		if got := (expected{off: o.Off, held: o.Held, cluster: o.Cluster, record: o.Record, heard: o.Heard}); !got.same(want) {
			m.t.Fatalf("%s is %v\nwant %v", name, got, want)
		}
		if o.Off != (o.Status == client.NotServing) || o.Heard && o.Record == nil != (o.Status == client.ServiceUnknown) {
			m.t.Fatalf("%s is %+v", name, o)
		}
	}
	for _, w := range m.v.watches {
		if w.spoke && w.cluster == m.home && len(w.behind) > 0 && w.synced && w.revision >= int64(m.seen) {
			m.t.Fatalf("a watch at the newest revision is behind in %v", w.behind)
		}
	}
}
