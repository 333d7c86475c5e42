package fsm

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

var (
	followedNames    = []string{"a", "a1", "ab", "ab/x", "b", "b1", "c", "c/1", "c.2", "c/3", "c2", "d"}
	followedPatterns = []string{"a", "c2", "ab/*", "c/*", "c.*", "*", "**"}
)

// mirrorOfNames is what a client makes of the messages of a watch by names.
type mirrorOfNames struct {
	names    []string
	records  map[string]*rollcallv1.ServiceRecord
	told     map[string]bool
	revision int64
	synced   bool
	messages int
	sent     int // records, in all messages
}

func newMirrorOfNames(names ...string) *mirrorOfNames {
	return &mirrorOfNames{names: names, records: map[string]*rollcallv1.ServiceRecord{}, told: map[string]bool{}}
}

// take returns what is wrong with a message; "" if nothing is.
func (m *mirrorOfNames) take(msg *rollcallv1.WatchServicesResponse) string {
	if msg.GetRevision() < m.revision {
		return fmt.Sprintf("revision %d comes after %d", msg.GetRevision(), m.revision)
	}
	m.messages++
	m.revision, m.synced = msg.GetRevision(), msg.GetSynced()
	for _, r := range msg.GetServices() {
		name := r.GetService()
		if !slices.Contains(m.names, name) {
			return "it was told of " + name
		}
		if r.GetReport().GetRevision() > m.revision || r.GetReport().GetRevision() < m.records[name].GetReport().GetRevision() {
			return fmt.Sprintf("%v comes with revision %d after %v", r, m.revision, m.records[name])
		}
		m.records[name], m.told[name] = r, true
		m.sent++
	}
	for _, name := range msg.GetDeleted() {
		if !slices.Contains(m.names, name) || m.told[name] && m.records[name] == nil {
			return name + " is deleted again, or was not asked for"
		}
		delete(m.records, name)
		m.told[name] = true
	}
	for _, name := range m.names {
		if m.synced && !m.told[name] {
			return name + " was not told of"
		}
	}
	return ""
}

// compare returns how it differs from a cut; "" if it does not. Brute force: it looks at every service of the cut.
func (m *mirrorOfNames) compare(cut map[string]*rollcallv1.ServiceRecord) string {
	for _, name := range m.names {
		if have, want := m.records[name], cut[name]; !proto.Equal(have, want) {
			return fmt.Sprintf("at %d %s is\n%v; the registry has\n%v", m.revision, name, have, want)
		}
	}
	return ""
}

// everything is what a node shows, by name.
func (f *FSM) everything() (int64, map[string]*rollcallv1.ServiceRecord) {
	v := f.view.Load()
	all := map[string]*rollcallv1.ServiceRecord{}
	v.services.Scan(func(r *record) bool {
		all[r.name] = v.public(r)
		return true
	})
	return v.revision, all
}

// randomCommands writes, deletes, sets, clears and expires what followers of names see, and what they do not.
type randomCommands struct {
	intn func(n int) int
	time int64
}

func (c *randomCommands) of(all []string) string { return all[c.intn(len(all))] }

func (c *randomCommands) next(h *harness) *logv1.Command {
	c.time++
	switch c.intn(8) {
	case 0, 1:
		return because(overFor(c.of(followedPatterns), []logv1.Status{serving, notServing}[c.intn(2)], []int64{0, 1, 3}[c.intn(3)]*int64(time.Second)), fmt.Sprint(c.time))
	case 2:
		return clearing(&logv1.ClearOverride{Pattern: c.of(followedPatterns), AllowMissing: true})
	case 3:
		c.time += int64(5 * time.Second)
		list, _, _ := h.ListOverrides("", 100, nil)
		var ended []*logv1.ExpiredOverride
		for _, o := range list {
			ended = append(ended, &logv1.ExpiredOverride{Pattern: o.GetPattern(), Revision: o.GetRevision()})
		}
		return expire(1, ended...)
	}
	var cs []*logv1.Change
	for _, i := range rand.Perm(len(followedNames))[:1+c.intn(6)] {
		cs = append(cs, change(followedNames[i], []logv1.Status{serving, notServing, gone}[c.intn(3)]))
	}
	return writeFor(fmt.Sprint(c.time), cs...)
}

// TestNamesAreOneCutWhenSynced steps followers of names between writes: however their pages fall, after every synced
// message what they were sent is exactly the registry.
func TestNamesAreOneCutWhenSynced(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := history.DefaultLimits()
		limits.Page = history.PageLimits{Count: rapid.IntRange(1, 8).Draw(rt, "page"), Bytes: rapid.SampledFrom([]int{1, 200, 1 << 20}).Draw(rt, "bytes")}
		h := rapidHarnessWith(t, rt, Config{RegistryFile: newMemRegistryFile(), limits: limits})
		commands := &randomCommands{intn: func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "n") }}
		something := func() {
			var cmds []*logv1.Command
			for range rapid.IntRange(1, 3).Draw(rt, "commands") {
				cmds = append(cmds, commands.next(h))
			}
			h.do(t, commands.time, cmds...)
		}
		for range rapid.IntRange(0, 10).Draw(rt, "before") {
			something()
		}
		names := rapid.SliceOfN(rapid.SampledFrom(append([]string{"none", "zz"}, followedNames...)), 1, 9).Draw(rt, "names")
		n := h.followers.Follow(names, logv1.Following{})
		defer n.Close()
		m := newMirrorOfNames(names...)
		take := func() {
			msg, err := n.Next(context.Background(), true)
			if err != nil {
				rt.Fatal(err)
			}
			if wrong := m.take(msg); wrong != "" {
				rt.Fatal(wrong)
			}
			if revision, cut := h.everything(); m.revision != revision {
				rt.Fatalf("revision %d, want %d", m.revision, revision)
			} else if wrong := m.compare(cut); m.synced && wrong != "" {
				rt.Fatal(wrong)
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			for range rapid.IntRange(0, 3).Draw(rt, "writes") {
				something()
			}
			take()
		}
		for m.synced = false; !m.synced; {
			take()
		}
	})
}

// TestNamesAreOneCutWhileTheyChange has followers of names, slow ones among them, run beside a writer. Each message
// that is synced shows the registry as of its revision, no half of an atomic write; and once the writer rests, all
// show its newest.
func TestNamesAreOneCutWhileTheyChange(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		synctest.Test(t, func(t *testing.T) {
			limits := history.DefaultLimits()
			limits.Page.Count = 1 + rand.IntN(12)
			h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), limits: limits})
			ctx, cancel := context.WithCancel(t.Context())
			type shown struct {
				revision int64
				records  map[string]*rollcallv1.ServiceRecord
			}
			const followers = 6
			var cuts [followers][]shown
			var mirrors [followers]*mirrorOfNames
			var all sync.WaitGroup
			for i := range followers {
				names := append([]string{"none"}, followedNames...)
				rand.Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
				m := newMirrorOfNames(names[:1+rand.IntN(len(names))]...)
				mirrors[i] = m
				all.Go(func() {
					h.FollowNames(ctx, m.names, logv1.Following{Quiet: time.Second}, nil, func(msg *rollcallv1.WatchServicesResponse) error {
						if wrong := m.take(msg); wrong != "" {
							t.Errorf("follower %d: %s", i, wrong)
						}
						if m.synced {
							cuts[i] = append(cuts[i], shown{m.revision, maps.Clone(m.records)})
						}
						if i%2 == 1 && rand.IntN(3) == 0 {
							time.Sleep(time.Millisecond)
						}
						return nil
					})
				})
			}
			byRevision := map[int64]map[string]*rollcallv1.ServiceRecord{}
			note := func() {
				revision, records := h.everything()
				byRevision[revision] = records
			}
			note()
			commands := &randomCommands{intn: rand.IntN}
			for range 300 {
				var cmds []*logv1.Command
				for range 1 + rand.IntN(3) {
					cmds = append(cmds, commands.next(h))
				}
				h.do(t, commands.time, cmds...)
				note()
				if rand.IntN(20) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			cancel()
			all.Wait()
			for i, m := range mirrors {
				for _, s := range cuts[i] {
					at := &mirrorOfNames{names: m.names, records: s.records, revision: s.revision}
					if cut, there := byRevision[s.revision]; !there {
						t.Errorf("follower %d was at revision %d, within a batch", i, s.revision)
					} else if wrong := at.compare(cut); wrong != "" {
						t.Fatalf("follower %d: %s", i, wrong)
					}
				}
				if _, cut := h.everything(); !m.synced || m.compare(cut) != "" {
					t.Fatalf("follower %d rests, synced: %v, and %s", i, m.synced, m.compare(cut))
				}
			}
			if n := h.followers.Topics(); n != 0 {
				t.Errorf("%d topics are left", n)
			}
		})
	}
}

// followNames runs a follower of names until the test ends. Each of its messages waits for the gate, if there is one.
func followNames(t *testing.T, h *harness, gate <-chan struct{}, complete <-chan struct{}, names ...string) (m *mirrorOfNames, reads *int) {
	ctx, cancel := context.WithCancel(t.Context())
	m, reads = newMirrorOfNames(names...), new(int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.FollowNames(ctx, names, logv1.Following{Quiet: 10 * time.Second, Idle: func() { *reads++ }}, complete, func(msg *rollcallv1.WatchServicesResponse) error {
			if wrong := m.take(msg); wrong != "" {
				t.Error(wrong)
			}
			if gate != nil {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m, reads
}

// TestNamesSleepWhileOthersChange: neither changes of other names, nor overrides that cover none of the names, nor the
// time that passes wake a follower of names.
func TestNamesSleepWhileOthersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		h.do(t, 1, batchOf("shop", 5, serving))
		m, reads := followNames(t, h, nil, nil, "shop/1", "shop/none", "shop/2")
		step := func(why string, wantReads, wantMessages int) {
			t.Helper()
			synctest.Wait()
			if *reads != wantReads || m.messages != wantMessages || !m.synced {
				t.Errorf("%s: %d reads, %d messages, synced: %v; want %d and %d", why, *reads, m.messages, m.synced, wantReads, wantMessages)
			}
			*reads, m.messages = 0, 0
		}
		step("the first state", 1, 1)
		for i := range 100 {
			h.do(t, 2, writeFor(fmt.Sprint(i), change("shop/3", []logv1.Status{serving, notServing, gone}[i%3]), change("pay", serving)))
		}
		step("others", 0, 0)
		h.do(t, 3, over("pay/*", notServing))
		h.do(t, 3, over("shop/3", notServing))
		h.do(t, 3, clearOver("pay/*"))
		step("overrides of others", 0, 0)
		time.Sleep(time.Hour)
		step("an hour", 0, 0)
		h.do(t, 4, write(change("shop/2", notServing)))
		step("a status", 1, 1)
		h.do(t, 4, writeFor("another reason", change("shop/2", notServing)))
		step("a reason", 1, 1)
		h.do(t, 4, write(change("shop/none", serving)))
		step("one that is new", 1, 1)
		h.do(t, 4, over("shop/*", notServing))
		step("an override", 1, 1)
		h.do(t, 4, over("shop/*", notServing))
		step("the same override", 0, 0)
		h.do(t, 4, clearOver("shop/*"))
		step("the end of an override", 1, 1)
		_, cut := h.everything()
		if wrong := m.compare(cut); wrong != "" {
			t.Error(wrong)
		}
	})
}

// TestNamesAreSentOnce: what changes often while a follower is not ready is sent once, as it is then.
func TestNamesAreSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		h.do(t, 1, batchOf("shop", 5, serving))
		gate := make(chan struct{})
		m, _ := followNames(t, h, gate, nil, "shop/0", "shop/1", "shop/2", "shop/3", "shop/4")
		synctest.Wait()
		for i := range 99 {
			h.do(t, 2, writeFor(fmt.Sprint(i), change("shop/1", []logv1.Status{serving, notServing}[i%2]), change("shop/2", []logv1.Status{serving, gone}[i%2])))
		}
		synctest.Wait()
		if m.messages != 1 || m.sent != 5 {
			t.Fatalf("%d messages, %d records", m.messages, m.sent)
		}
		gate <- struct{}{}
		synctest.Wait()
		if m.messages != 2 || m.sent != 7 || !m.synced {
			t.Errorf("then %d messages and %d records, synced: %v", m.messages, m.sent, m.synced)
		}
		_, cut := h.everything()
		if wrong := m.compare(cut); wrong != "" {
			t.Error(wrong)
		}
		close(gate)
		synctest.Wait()
		if m.messages != 2 {
			t.Errorf("%d messages in the end", m.messages)
		}
	})
}

// TestNamesAreMissingOnlyOnceAllIsKnown: a node that does not know yet what there is says of no name that it does not
// exist.
func TestNamesAreMissingOnlyOnceAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		h.do(t, 1, batchOf("shop", 2, serving))
		complete := make(chan struct{})
		m, _ := followNames(t, h, nil, complete, "shop/0", "shop/1", "new", "none")
		synctest.Wait()
		want := func(why string, synced bool, names ...string) {
			t.Helper()
			synctest.Wait()
			if told := slices.Sorted(maps.Keys(m.told)); m.synced != synced || !slices.Equal(told, names) {
				t.Errorf("%s: told of %q, synced: %v; want %q", why, told, m.synced, names)
			}
		}
		want("it begins", false, "shop/0", "shop/1")
		h.do(t, 2, write(change("shop/0", gone), change("new", serving)))
		want("it learns more", false, "new", "shop/0", "shop/1")
		if len(m.records) != 2 {
			t.Errorf("it has %v", m.records)
		}
		close(complete)
		want("it knows all", true, "new", "none", "shop/0", "shop/1")
		_, cut := h.everything()
		if wrong := m.compare(cut); wrong != "" {
			t.Error(wrong)
		}
	})
}

// TestNamesLiveThroughARestore: what a snapshot brings that took the place of the registry is told.
func TestNamesLiveThroughARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		ahead.do(t, 1, batchOf("shop", 3, serving))
		ahead.do(t, 2, write(change("shop/0", gone), change("shop/1", notServing)), over("shop/2", notServing))
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		h.do(t, 1, batchOf("shop", 3, serving))
		m, _ := followNames(t, h, nil, nil, "shop/0", "shop/1", "shop/2", "none")
		synctest.Wait()
		if err := h.Restore(ahead.snapshot(t)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		revision, cut := ahead.everything()
		if wrong := m.compare(cut); wrong != "" || !m.synced || m.revision != revision {
			t.Errorf("%s; synced: %v, at %d, want %d", wrong, m.synced, m.revision, revision)
		}
	})
}
