package watch

import (
	"math/rand/v2"
	"testing"
)

// TestTopicsReuseRoom: comings and goings do not grow a topic beyond its greatest number of watchers.
func TestTopicsReuseRoom(t *testing.T) {
	topics := newTopics()
	join := func() *watch {
		w := &watch{}
		topics.join("a", nil, w)
		return w
	}
	keep := join()
	for range 3 {
		var all []*watch
		for range 2*watchesPerShard - 1 {
			all = append(all, join())
		}
		for n, i := range rand.Perm(len(all)) {
			topics.leave(all[i])
			standing := 0
			for _, shard := range keep.topic.snapshot() {
				for slot, w := range shard.watches {
					if w.slot != slot || w.shard != shard {
						t.Fatalf("a watch stands at %d and believes %d", slot, w.slot)
					}
					standing++
				}
			}
			if want := len(all) - n; standing != want { // and keep
				t.Fatalf("%d watches stand, want %d", standing, want)
			}
		}
	}
	if n := len(keep.topic.snapshot()); n != 2 {
		t.Errorf("%d shards, want 2", n)
	}
	topics.leave(keep)
	if n := topics.len(); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestTopicsHaveNoMoreShardsThanNeeded, whoever comes.
func TestTopicsHaveNoMoreShardsThanNeeded(t *testing.T) {
	topics := newTopics()
	const n = 10_000
	for range n {
		topics.join("a", nil, &watch{})
	}
	if got, want := len(topics.get("a").snapshot()), n/watchesPerShard+1; got != want {
		t.Errorf("%d watches stand in %d shards, want %d", n, got, want)
	}
}

// TestTopicsKeepGroupsTogether: beyond the first, shards hold watches of one group, whoever comes and goes,
// and groups that have gone leave none behind.
func TestTopicsKeepGroupsTogether(t *testing.T) {
	topics := newTopics()
	const groups = 20
	standing := map[*watch]int{}
	join := func(group int) {
		w := &watch{}
		topics.join("a", group, w)
		standing[w] = group
	}
	leave := func(w *watch) {
		topics.leave(w)
		delete(standing, w)
	}
	check := func(most int) {
		t.Helper()
		n := 0
		shards := topics.get("a").snapshot()
		for i, shard := range shards {
			n += len(shard.watches)
			if len(shard.watches) > watchesPerShard {
				t.Fatalf("%d watches in a shard", len(shard.watches))
			}
			for _, w := range shard.watches {
				if i > 0 && standing[w] != standing[shard.watches[0]] {
					t.Fatalf("groups %d and %d share a shard", standing[w], standing[shard.watches[0]])
				}
			}
		}
		if n != len(standing) {
			t.Fatalf("%d watches stand, want %d", n, len(standing))
		}
		if len(shards) > most {
			t.Fatalf("%d shards, want %d at most", len(shards), most)
		}
	}
	const each = 2 * watchesPerShard
	for range groups * each {
		join(rand.IntN(groups))
	}
	check(1 + groups*4)
	for range 5 {
		for w := range standing {
			if rand.IntN(3) > 0 {
				leave(w)
			}
		}
		check(1 + groups*4)
		for len(standing) < groups*each {
			join(rand.IntN(groups))
		}
		check(1 + groups*4)
	}
	// Others take the place of those that go.
	for round := range 10 {
		for w := range standing {
			leave(w)
			if len(standing) == 1 {
				break
			}
		}
		for range groups * each {
			join((round+1)*groups + rand.IntN(groups))
		}
		check(1 + groups*4)
	}
}

// TestWakerWakesEveryShard, also of a topic queued again half-way, and takes turns between topics and
// watches that have become ready.
func TestWakerWakesEveryShard(t *testing.T) {
	topics, w := newTopics(), &waker{signal: make(chan struct{}, 1)} // nobody runs it
	standing := map[string][]*watch{}
	for name, n := range map[string]int{"a": 10*watchesPerShard - 1, "b": watchesPerShard + 1, "c": 1} {
		for range n {
			one := &watch{}
			topics.join(name, nil, one)
			standing[name] = append(standing[name], one)
		}
	}
	take := func(n int) map[*watch]int {
		t.Helper()
		woken := map[*watch]int{}
		for range n {
			batch, busy := w.take(nil)
			if !busy {
				break
			}
			if len(batch) >= watchesPerShard*3/2 {
				t.Errorf("%d watches were taken at once", len(batch))
			}
			for _, one := range batch {
				woken[one]++
			}
		}
		return woken
	}
	all := func(woken map[*watch]int, names ...string) {
		t.Helper()
		n := 0
		for _, name := range names {
			for i, one := range standing[name] {
				if woken[one] != 1 {
					t.Fatalf("watch %d of %s was woken %d times", i, name, woken[one])
				}
			}
			n += len(standing[name])
		}
		if len(woken) != n {
			t.Errorf("%d watches were woken, want %d", len(woken), n)
		}
	}
	for range 50 {
		w.queue(topics.get("a"))
		w.queue(topics.get("b"))
		take(rand.IntN(8))
		for range 3 {
			w.queue(topics.get("a"))
			w.queue(topics.get("b"))
		}
		all(take(12), "a", "b")
		all(take(1))
	}
	// c has its turn after one shard of each.
	for _, name := range []string{"a", "b", "c"} {
		w.queue(topics.get(name))
	}
	if woken := take(3); woken[standing["c"][0]] != 1 {
		t.Error("c waits for more than one shard of a and b")
	}
	take(100)
	// So has a watch that became ready, and one that did first comes first.
	w.queue(topics.get("a"))
	for _, one := range standing["b"] {
		w.queueWatch(one)
	}
	if woken := take(2); woken[standing["b"][0]] != 1 || woken[standing["b"][watchesPerShard]] != 0 {
		t.Error("the first watch that became ready waits for more than one shard of a")
	}
}
