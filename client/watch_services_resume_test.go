package client_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// asked returns what watches of services have asked a node to go on from.
func (n *fakeNode) asked() (from []int64) {
	for _, c := range n.seen("WatchServices") {
		from = append(from, c.request.(*rollcallv1.WatchServicesRequest).GetFromRevision())
	}
	return from
}

// TestWatchServicesGoesOn at the next node from what it holds where the nodes can tell what changed since, and begins
// anew where they cannot. The watch gives the same in both cases: what changed, and what was deleted. The first node is
// killed when the watch holds a, b and c, as of revision 3.
func TestWatchServicesGoesOn(t *testing.T) {
	at := func(f *fakeCluster, node int, change func(*fakeNode)) { f.do(func() { change(f.nodes[node]) }) }
	for name, tt := range map[string]struct {
		before    func(*fakeCluster) // the watch begins
		meanwhile func(*fakeCluster) // before the first node is killed
		want      string             // is given then
		from      []int64            // that the second node is asked for
		missed    int                // messages with which it begins
	}{
		"goes on": {want: "b=5,-a@5!", from: []int64{3}, missed: 1},
		"goes on, and is synced a little later": {
			before: func(f *fakeCluster) { at(f, 1, func(n *fakeNode) { n.parts = true }) },
			want:   "b=5,-a@5 @5!", from: []int64{3}, missed: 2,
		},
		"at a node of an older version": {
			before: func(f *fakeCluster) { at(f, 1, func(n *fakeNode) { n.ignoresFrom = true }) },
			want:   "b=5@5 -a@5!", from: []int64{3}, missed: 3,
		},
		"from a node of an older version": {
			before: func(f *fakeCluster) { at(f, 0, func(n *fakeNode) { n.ignoresFrom = true }) },
			want:   "b=5,-a@5!", from: []int64{3}, missed: 1,
		},
		"what was missed is compacted": {
			meanwhile: func(f *fakeCluster) { f.do(func() { f.oldest = 5 }) },
			want:      "b=5@5 -a@5!", from: []int64{3}, missed: 3,
		},
		"access was changed": {
			before: func(f *fakeCluster) { at(f, 1, func(n *fakeNode) { n.rights = 4 }) },
			want:   "b=5@5 -a@5!", from: []int64{3}, missed: 3,
		},
		"the caller may read less at the next node": {
			before: func(f *fakeCluster) { at(f, 1, func(n *fakeNode) { n.hidden = "c" }) },
			want:   "b=5@5 -a,-c@5!", from: []int64{3, 0}, missed: 1 + 2,
		},
		"the caller may read more at the next node": {
			before: func(f *fakeCluster) { at(f, 0, func(n *fakeNode) { n.hidden = "c" }) },
			want:   "b=5@5 c=3@5 -a@5!", from: []int64{3, 0}, missed: 1 + 3,
		},
		"nobody proves that the caller is the same": {
			before: func(f *fakeCluster) {
				for i := range f.nodes {
					at(f, i, func(n *fakeNode) { n.hidden = "c" })
				}
			},
			want: "b=5@5 -a@5!", from: []int64{3, 0}, missed: 1 + 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				if tt.before != nil {
					tt.before(f)
				}
				f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""})
				w := takeServices(t, f.client(t))
				told := "a=1@3 b=2@3 c=3@3 @3!"
				if f.nodes[0].hidden != "" {
					told = "a=1@3 b=2@3 @3!"
				}
				w.want(t, told)
				f.do(func() { f.lagging = true })
				f.write(event{"a", missing, ""}, event{"b", notServing, ""})
				f.do(func() { f.nodes[1].applied = 5 })
				if tt.meanwhile != nil {
					tt.meanwhile(f)
				}
				f.nodes[0].kill()
				w.want(t, told+" "+tt.want)
				if from := f.nodes[1].asked(); !slices.Equal(from, tt.from) {
					t.Errorf("it asked for %v, want %v", from, tt.from)
				}
				if n := f.nodes[1].servicesSent(); n != tt.missed {
					t.Errorf("%d messages were sent, want %d", n, tt.missed)
				}
				f.do(func() { f.lagging = false })
				f.write(event{"a", serving, ""})
				w.want(t, told+" "+tt.want+" a=6@6!")
			})
		})
	}
}

// What came before a stream was synced again is not a state to go on from.
func TestWatchServicesBeginsAnewWithinAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""})
		w := takeServices(t, f.client(t))
		told := "a=1@3 b=2@3 c=3@3 @3!"
		w.want(t, told)
		f.do(func() {
			f.nodes[1].stalled, f.nodes[1].parts = true, true
			f.lagging = true
		})
		f.write(event{"a", missing, ""}, event{"b", notServing, ""})
		f.do(func() { f.nodes[1].applied, f.nodes[2].applied = 5, 5 })
		f.nodes[0].kill()
		told += " b=5,-a@5"
		w.want(t, told)
		f.nodes[1].kill()
		told += " @5!"
		if w.want(t, told); !slices.Equal(f.nodes[2].asked(), []int64{0}) {
			t.Errorf("it asked for %v", f.nodes[2].asked())
		}
	})
}

// A revision of the cluster that was says nothing in another one.
func TestWatchServicesGoesOnInItsClusterOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, restore := restored(t)
		w := takeServices(t, f.client(t))
		told := "a=2@4 b=3@4 c=4@4 @4!"
		w.want(t, told)
		each := func(change func(*fakeNode)) {
			for _, n := range f.nodes {
				f.do(func() { change(n) })
			}
		}
		// The first streams in the new cluster end when they have only said which it is.
		each(func(n *fakeNode) { n.hasty, n.stalled = true, true })
		restore()
		w.want(t, told+" reset:@0")
		each(func(n *fakeNode) { n.hasty, n.stalled = false, false })
		for _, n := range f.nodes {
			n.breakConnections()
		}
		told += " reset:@0 a=1@2 b=2@2 @2!"
		w.want(t, told)
		for _, n := range f.nodes {
			for _, c := range n.seen("WatchServices") {
				from := c.request.(*rollcallv1.WatchServicesRequest).GetFromRevision()
				if from != 0 && (from != 4 || c.clusterID != "3f9a") {
					t.Errorf("from %d of cluster %q", from, c.clusterID)
				}
			}
		}
		for _, n := range f.nodes {
			n.breakConnections()
		}
		f.write(event{"c", serving, ""})
		w.want(t, told+" c=3@3!")
		if from := slices.Concat(f.nodes[0].asked(), f.nodes[1].asked(), f.nodes[2].asked()); !slices.Contains(from, 2) {
			t.Errorf("it asked for %v: never from revision 2 of the new cluster", from)
		}
	})
}

// A caller that may not read everything goes on while it shows the same token, and not with another one.
func TestWatchServicesGoesOnWithTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 1)
		f.do(func() { f.nodes[0].hidden = "c" })
		file, _ := newTokenFile(t)
		cfg := f.config()
		cfg.TokenFile = file.path
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""})
		w := takeServices(t, newClient(t, cfg))
		told := "a=1@3 b=2@3 @3!"
		w.want(t, told)
		f.nodes[0].breakConnections()
		w.want(t, told)
		file.exchange()
		time.Sleep(time.Minute) // so that the client reads the file again
		f.do(func() { f.nodes[0].hidden = "b" })
		f.nodes[0].breakConnections()
		told += " c=3@3 -b@3!"
		w.want(t, told)
		if from := f.nodes[0].asked(); !slices.Equal(from, []int64{0, 3, 3, 0}) {
			t.Errorf("it asked for %v", from)
		}
	})
}

// A node forgets that an override ended, and with it since when the status beneath is shown again. That changes nothing:
// a watch that begins anew does not give the service again, with a time that is earlier than the one that was given.
func TestWatchServicesGivesNoEarlierStatusTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		f.do(func() { f.nodes[1].ignoresFrom = true })
		f.write(event{"a", serving, ""})
		f.override("a", notServing)
		f.clear("a")
		f.write(event{"b", serving, ""})
		w := take(t, func(ctx context.Context) iter.Seq2[client.ServicesUpdate, error] {
			return f.client(t).WatchServices(ctx)
		}, func(u client.ServicesUpdate) string {
			var all []string
			for _, r := range u.Services {
				all = append(all, fmt.Sprintf("%s since %d", r.GetService(), r.GetStatusTime().GetSeconds()))
			}
			return fmt.Sprint(all)
		})
		told := "[a since 3] [b since 4] []"
		w.want(t, told)
		f.do(func() { f.oldest = 4 })
		f.nodes[0].kill()
		w.want(t, told)
		f.override("a", notServing)
		f.clear("a")
		w.want(t, told+" [a since 1] [a since 6]")
	})
}

// tellServices runs a story and returns what a watch of services gave.
func tellServices(t *testing.T, story []step) (given []client.ServicesUpdate, f *fakeCluster, err error) {
	synctest.Test(t, func(t *testing.T) {
		f = startBuffered(t, 3)
		f.write(event{"a", serving, ""}, event{"b", serving, ""}, event{"c", serving, ""})
		f.do(func() { f.lagging = true })
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		c := f.client(t)
		watching.Go(func() {
			for u, failed := range c.WatchServices(ctx) {
				if failed != nil {
					if err = failed; ctx.Err() != nil {
						err = nil
					}
					return
				}
				given = append(given, u)
			}
		})
		synctest.Wait()
		for _, s := range story {
			s.do(f)
			time.Sleep(100 * time.Millisecond)
		}
		f.do(func() {
			for _, n := range f.nodes {
				n.applied, n.hung, n.draining, n.stalled = int64(len(f.events)), false, false, false
			}
		})
		for _, n := range f.nodes {
			if n.server == nil {
				n.start()
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		watching.Wait()
	})
	return given, f, err
}

func shownOf(r *rollcallv1.ServiceRecord) string {
	return fmt.Sprint(r.GetReport().GetRevision(), r.GetStatus(), r.GetOverride().GetRevision())
}

// shownAt is what the registry has as of a revision. f.mu is held.
func shownAt(f *fakeCluster, revision int64) map[string]string {
	shown := map[string]string{}
	for _, e := range f.events[:revision] {
		if r := f.record(e.service, revision); e.service != "" && r != nil {
			shown[e.service] = shownOf(r)
		}
	}
	return shown
}

// checkServices holds what a watch of services gave against the log.
func checkServices(given []client.ServicesUpdate, f *fakeCluster) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, revision := map[string]string{}, int64(0)
	for i, u := range given {
		if u.Reset || u.Revision < revision {
			return fmt.Errorf("update %d goes back from %d to %d (reset: %v)", i, revision, u.Revision, u.Reset)
		}
		revision = u.Revision
		for _, r := range u.Services {
			have[r.GetService()] = shownOf(r)
		}
		for _, name := range u.Deleted {
			if _, known := have[name]; !known {
				return fmt.Errorf("update %d deletes %s, which was not given", i, name)
			}
			delete(have, name)
		}
		if !u.Synced {
			continue
		}
		want := shownAt(f, revision)
		if !maps.Equal(have, want) {
			return fmt.Errorf("update %d is synced at %d; given is %v, the registry has %v", i, revision, have, want)
		}
	}
	if len(given) == 0 || !given[len(given)-1].Synced {
		return fmt.Errorf("the last of %d updates is not synced", len(given))
	}
	if end := shownAt(f, int64(len(f.events))); !maps.Equal(have, end) {
		return fmt.Errorf("in the end given is %v, the registry has %v", have, end)
	}
	return nil
}

// TestWatchServicesIsTheRegistry: whatever nodes do, whatever they can tell of what was missed, and however the watch
// moves among them: what it gave is the registry whenever it says so, and it never goes back.
func TestWatchServicesIsTheRegistry(t *testing.T) {
	var asked, parts int
	kinds := []string{"write", "write", "write other", "override", "clear", "follow", "follow", "follow", "follow",
		"long sleep", "break", "break", "kill", "start", "start", "drain", "end of drain", "hang", "wake", "compact", "older", "newer", "parts", "stall", "go on"}
	rapid.Check(t, func(rt *rapid.T) {
		story := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				what:   rapid.SampledFrom(kinds).Draw(t, "what"),
				node:   rapid.IntRange(0, 2).Draw(t, "node"),
				status: rapid.SampledFrom([]client.Status{serving, notServing, missing}).Draw(t, "status"),
				amount: rapid.IntRange(0, 300).Draw(t, "amount"),
			}
		}), 20, 80).Draw(rt, "story")
		given, f, err := tellServices(t, story)
		if err == nil {
			err = checkServices(given, f)
		}
		if err != nil {
			var all []string
			for _, u := range given {
				all = append(all, shortUpdate(u))
			}
			rt.Fatalf("%v\ngiven: %s\nlog: %v", err, strings.Join(all, " "), f.events)
		}
		for _, n := range f.nodes {
			for _, from := range n.asked() {
				asked++
				if from > 0 {
					parts++
				}
			}
		}
	})
	t.Logf("%d streams, %d of them asked to go on", asked, parts)
	if parts < 20 {
		t.Errorf("it tested too little: of %d streams %d asked to go on", asked, parts)
	}
}
