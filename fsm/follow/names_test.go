package follow

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// world is a registry whose followers' marker has no goroutine: the test makes its steps, at any moment.
type world struct {
	f       *Followers
	cuts    []*worldCut // by revision; the last is the newest
	touched []string    // by the newest, if that is not published yet
	hidden  bool        // it is not published
	taken   *round      // is under way; nil: none

	read func() // is called before a service is read, and after the newest cut was
}

type worldCut struct {
	w        *world
	revision int64
	services map[string]int64 // name → revision of its report
}

func (c *worldCut) Revision() int64 { return c.revision }

func (c *worldCut) ServiceCount() int { return len(c.services) }

func (*worldCut) RightsSince() int64 { return 0 }

func (c *worldCut) Service(name string, _ bool) (*rollcallv1.ServiceRecord, int64) {
	c.w.step()
	if revision, there := c.services[name]; there {
		return &rollcallv1.ServiceRecord{Service: name, Report: &rollcallv1.Report{Revision: revision}}, revision
	}
	return nil, 0
}

func (*worldCut) Ascend(string, bool, func(*rollcallv1.ServiceRecord) bool) {}

func (w *world) Horizon() int64 { return 1 }

func (w *world) Newest() Cut {
	defer w.step()
	return w.newest()
}

func (w *world) newest() *worldCut { return w.cuts[len(w.cuts)-1] }

func (w *world) step() {
	if read := w.read; read != nil {
		w.read = nil // what happens meanwhile reads, too
		read()
		w.read = read
	}
}

func newWorld(page history.PageLimits) *world {
	w := &world{}
	w.cuts = []*worldCut{{w: w}}
	w.f = &Followers{cfg: Config{Registry: w, Page: page}}
	w.f.marks = &marks{topics: newTopics(), signal: make(chan struct{}, 1)}
	first := Cut(w.newest())
	w.f.marks.cut.Store(&first)
	return w
}

// change makes the next cut, which is then the newest, and is not published.
func (w *world) change(set, drop []string) {
	last := w.newest()
	next := &worldCut{w: w, revision: last.revision + 1, services: maps.Clone(last.services)}
	if next.services == nil {
		next.services = map[string]int64{}
	}
	for _, name := range set {
		next.services[name] = next.revision
	}
	for _, name := range drop {
		delete(next.services, name)
	}
	w.cuts, w.touched, w.hidden = append(w.cuts, next), append(set, drop...), true
}

func (w *world) publish() {
	if w.hidden {
		w.hidden = false
		w.f.Publish(slices.Values(w.touched), nil)
	}
}

func (w *world) take() {
	if w.taken == nil {
		r := w.f.marks.take()
		w.taken = &r
	}
}

func (w *world) finish() (woken []*follower) {
	if w.taken != nil {
		woken = w.f.marks.round(*w.taken, nil)
		w.taken = nil
	}
	for _, one := range woken {
		one.woken = false
		one.wake()
	}
	return woken
}

// settle has all that changed be marked.
func (w *world) settle() {
	w.publish()
	w.finish()
	w.take()
	w.finish()
}

var worldNames = []string{"a", "b", "c", "d", "e", "f"}

// TestNamesAtAnyMoment: whatever happens between any two steps of a follower of names, of the marker and of who
// publishes, a message that is synced shows one cut, no record is sent again that did not change, and a follower that
// is not woken has nothing to send.
func TestNamesAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(history.PageLimits{Count: rapid.IntRange(1, 6).Draw(rt, "count"), Bytes: rapid.SampledFrom([]int{100, 200, 1 << 20}).Draw(rt, "bytes")})
		type client struct {
			n      *Named
			names  []string
			told   map[string]int64 // revision of its report; 0: it does not exist
			synced bool
		}
		var clients []*client
		happens := func() {
			switch what := rapid.IntRange(0, 9).Draw(rt, "happens"); what {
			case 0, 1, 2, 8:
				w.publish()
				all := rapid.SliceOfNDistinct(rapid.SampledFrom(worldNames), 0, 4, rapid.ID).Draw(rt, "touched")
				n := rapid.IntRange(0, len(all)).Draw(rt, "set")
				w.change(all[:n:n], slices.DeleteFunc(slices.Clone(all[n:]), func(name string) bool { return w.newest().services[name] == 0 }))
				if what == 8 {
					w.settle()
				}
			case 3, 4:
				w.publish()
			case 5:
				w.take()
			case 6, 7:
				w.finish()
			}
		}
		next := func(c *client) {
			w.settle() // else it would wait
			select {
			case <-c.n.one.changed:
			default:
			}
			w.read = func() {
				for range rapid.SampledFrom([]int{0, 0, 0, 1, 6}).Draw(rt, "meanwhile") {
					happens()
				}
			}
			m, err := c.n.Next(context.Background(), true)
			w.read = nil
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range m.GetServices() {
				if was, told := c.told[r.GetService()]; told && was >= r.GetReport().GetRevision() {
					rt.Fatalf("%s is told as of %d, after %d", r.GetService(), r.GetReport().GetRevision(), was)
				}
				c.told[r.GetService()] = r.GetReport().GetRevision()
			}
			for _, name := range m.GetDeleted() {
				if was, told := c.told[name]; told && was == 0 {
					rt.Fatalf("%s is deleted again", name)
				}
				c.told[name] = 0
			}
			if c.synced = m.GetSynced(); !c.synced {
				return
			}
			for _, name := range c.names {
				if was, told := c.told[name]; !told || was != w.cuts[m.GetRevision()].services[name] {
					rt.Fatalf("at %d %s is of %d, %v; it should be of %d", m.GetRevision(), name, was, told, w.cuts[m.GetRevision()].services[name])
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				if len(clients) == 4 {
					clients[0].n.Close()
					clients = clients[1:]
				}
				names := rapid.SliceOfNDistinct(rapid.SampledFrom(worldNames), 1, 6, rapid.ID).Draw(rt, "names")
				clients = append(clients, &client{n: w.f.Follow(names, logv1.Following{}), names: names, told: map[string]int64{}})
			case 1, 2:
				if len(clients) > 0 {
					next(rapid.SampledFrom(clients).Draw(rt, "client"))
				}
			default:
				happens()
			}
		}
		w.settle()
		for i, c := range clients {
			for rounds := 0; !c.synced || len(c.n.one.changed) > 0; rounds++ {
				if next(c); rounds > 100 {
					rt.Fatalf("client %d has no end", i)
				}
			}
			for _, name := range c.names {
				if c.told[name] != w.cuts[w.f.marks.shown().Revision()].services[name] {
					rt.Fatalf("client %d was not woken: %s is of %d", i, name, c.told[name])
				}
			}
			c.n.Close()
		}
		if n := w.f.Topics(); n != 0 || w.f.marks.members.Load() != 0 {
			rt.Fatalf("%d topics are left", n)
		}
	})
}

// TestTheCutMovesWithTheMarks: while a round is being marked, nobody takes a part of it, or its cut.
func TestTheCutMovesWithTheMarks(t *testing.T) {
	w := newWorld(history.PageLimits{Count: 10, Bytes: 1 << 20})
	n := w.f.Follow([]string{"a", "b"}, logv1.Following{})
	defer n.Close()
	w.change([]string{"a", "b"}, nil)
	w.settle()
	if m, err := n.Next(t.Context(), true); err != nil || len(m.GetServices()) != 2 {
		t.Fatal(m, err)
	}
	w.change([]string{"a", "b"}, nil)
	w.publish()
	w.take()
	stuck := w.f.marks.topics.get("b")
	stuck.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.finish()
	}()
	for w.f.marks.turn.TryRLock() { // until the round is under way
		w.f.marks.turn.RUnlock()
		runtime.Gosched()
	}
	if got := w.f.marks.shown().Revision(); got != 1 {
		t.Errorf("the cut is of %d while the round is under way", got)
	}
	stuck.mu.Unlock()
	<-done
	if got := w.f.marks.shown().Revision(); got != 2 {
		t.Errorf("then the cut is of %d", got)
	}
}

// TestManyPatternsBecomeOne: the queue is bounded, however many overrides change.
func TestManyPatternsBecomeOne(t *testing.T) {
	w := newWorld(history.PageLimits{Count: 10, Bytes: 1 << 20})
	n := w.f.Follow([]string{"a", "b/x"}, logv1.Following{})
	defer n.Close()
	w.settle()
	if m, err := n.Next(t.Context(), true); err != nil || !m.GetSynced() {
		t.Fatal(m, err)
	}
	for i := range 10 * maxPatterns {
		w.change(nil, nil)
		w.f.Publish(slices.Values([]string(nil)), []string{fmt.Sprintf("c%d", i)})
		if queued := len(w.f.marks.next.patterns); queued > maxPatterns {
			t.Fatalf("%d patterns are queued", queued)
		}
	}
	w.take()
	if woken := w.finish(); len(woken) != 1 || len(n.one.marked) != 2 {
		t.Errorf("%d followers were woken, %d names marked", len(woken), len(n.one.marked))
	}
}

// TestTheCutWaitsForTheRound: a change that touches no name which is followed does not move the cut past one that
// does and is not marked yet.
func TestTheCutWaitsForTheRound(t *testing.T) {
	w := newWorld(history.PageLimits{Count: 10, Bytes: 1 << 20})
	n := w.f.Follow([]string{"a"}, logv1.Following{})
	defer n.Close()
	want := func(why string, want int64) {
		t.Helper()
		if got := w.f.marks.shown().Revision(); got != want {
			t.Errorf("%s: the cut is of %d, want %d", why, got, want)
		}
	}
	w.change([]string{"other"}, nil)
	w.publish()
	want("nothing to mark", 1)
	w.change([]string{"a"}, nil)
	w.publish()
	w.change([]string{"other"}, nil)
	w.publish()
	want("queued", 1)
	w.take()
	w.change([]string{"other"}, nil)
	w.publish()
	want("under way", 1)
	w.finish()
	want("done", 3)
	w.take()
	w.finish()
	want("done again", 4)
}
