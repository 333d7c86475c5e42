package statusmap

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// hashBits has names collide: in all of the hash, or in what picks the part, begins looking, or is kept
// in the slot.
var hashBits = []uint64{^uint64(0), 0, 0xff, 0xffffffff, 3 << 62, 1<<63 | 1<<31 | 1}

// likeNames are of all lengths, many the beginning of another.
func likeName(i int) string {
	switch {
	case i == 0:
		return "" // the node's own
	case i%7 == 0:
		return strings.Repeat("a", i%250)
	}
	return strings.Repeat("team/", i%5) + fmt.Sprint("s", i)
}

// TestStatusMapIsAMap compares it with Go's, through growth, removal and coming back.
func TestStatusMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, model := New(), map[string]Status{}
		m.bits = rapid.SampledFrom(hashBits).Draw(t, "bits")
		names := rapid.SampledFrom([]int{1, 40, 300}).Draw(t, "names")
		if m.bits == ^uint64(0) {
			names *= 10
		}
		steps := rapid.IntRange(1, 12).Draw(t, "steps")
		for range steps {
			from := rapid.IntRange(0, names-1).Draw(t, "from")
			put := rapid.Bool().Draw(t, "put")
			turn := rapid.IntRange(0, 3).Draw(t, "turn")
			for i := from; i < min(names, from+max(1, names/3)); i++ {
				name := likeName(i)
				before, was := model[name]
				if !put {
					if got := m.Remove(name); got != was {
						t.Fatalf("remove(%q) says %v", name, got)
					}
					delete(model, name)
					continue
				}
				status := Status((i + turn) % 4)
				if got, want := m.Put(strings.Clone(name), status), !was || before != status; got != want {
					t.Fatalf("put(%q) says %v, want %v", name, got, want)
				}
				model[name] = status
			}
		}
		for i := range names {
			name := likeName(i)
			got, ok := m.Get(name)
			if want, is := model[name]; ok != is || is && got != want {
				t.Fatalf("get(%q) is %v, %v, want %v, %v", name, got, ok, want, is)
			}
			if _, is := model[name]; !is && m.Status(name) != serviceUnknown {
				t.Fatalf("status(%q) is %v", name, m.Status(name))
			}
			if _, ok := m.Get(name + "?"); ok {
				t.Fatalf("%q was never put", name+"?")
			}
		}
		var counts [serviceUnknown + 1]int64
		seen := map[string]bool{}
		m.Each(func(name string, status Status) {
			if want, ok := model[name]; !ok || status != want || seen[name] {
				t.Fatalf("each shows %q as %v", name, status)
			}
			seen[name] = true
			if !rollcallv1.IsOwn(name) {
				counts[status]++
			}
		})
		if len(seen) != len(model) {
			t.Fatalf("each shows %d names, want %d", len(seen), len(model))
		}
		for status := range counts {
			if got := m.counts[status].Load(); got != counts[status] {
				t.Fatalf("%d of status %d are counted, want %d", got, status, counts[status])
			}
		}
		m.Retain(func(name string) bool { return name == "team/s1" })
		m.Each(func(name string, _ Status) {
			if name != "team/s1" {
				t.Fatalf("%q was retained", name)
			}
		})
	})
}

// TestStatusMapWhileItChanges: a name that stays is always found, whatever is put and removed beside it
// and however often its table is made anew, never in an older state than before, and never in that of
// another name, also where hashes tell nothing.
func TestStatusMapWhileItChanges(t *testing.T) {
	for _, bits := range hashBits {
		t.Run(fmt.Sprintf("%#x", bits), func(t *testing.T) {
			come := 5_000
			if bits != ^uint64(0) {
				come = 300
			}
			statusMapWhileItChanges(t, bits, come)
		})
	}
}

func statusMapWhileItChanges(t *testing.T, bits uint64, come int) {
	m := New()
	m.bits = bits
	const stay, rounds, other, newest = 50, 4, 253, 250 // a slot has room for statuses up to 254
	staying := func(i int) string { return fmt.Sprint("stays-", i) }
	coming := func(round, i int) string { return fmt.Sprint("comes-", round, "-", i) }
	for i := range stay {
		m.Put(staying(i), 0)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var last [stay]Status
			for turn := 0; ; turn++ {
				for i := range stay {
					s, ok := m.Get(staying(i))
					if !ok || s < last[i] || s > newest {
						t.Errorf("%s is %v, %v after %v", staying(i), s, ok, last[i])
						return
					}
					last[i] = s
					name := coming(turn%rounds, i)
					if s, ok := m.Get(name); ok && s != other {
						t.Errorf("%s is %v", name, s)
						return
					}
					if s, ok := m.Get(name + "-never"); ok {
						t.Errorf("%s-never is %v", name, s)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for round := range rounds {
		for i := range come {
			m.Put(coming(round, i), other)
			m.Put(staying(i%stay), Status(newest*(round*come+i)/(rounds*come)))
		}
		for i := range come {
			m.Remove(coming(round, i))
		}
	}
	close(done)
	readers.Wait()
	if slots := m.slots(); slots > partCount*minSlots+4*(stay+come) {
		t.Errorf("%d slots for %d names at most", slots, stay+come)
	}
}

func (m *Map) slots() int {
	n := 0
	for i := range m.parts {
		n += len(m.parts[i].Load().slots)
	}
	return n
}

// TestStatusMapOfAMillion: the table stays a table, in the memory that it is said to take.
func TestStatusMapOfAMillion(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	m := New()
	name := func(i int) string { return "team/service-" + strconv.Itoa(i) }
	for i := range n {
		m.Put(name(i), Status(i%3))
	}
	if slots := m.slots(); slots > 2*n+partCount {
		t.Errorf("%d slots for %d names", slots, n)
	}
	for i := 0; i < n; i += 2 {
		m.Remove(name(i))
	}
	for i := 0; i < n; i += 7 {
		got, ok := m.Get(name(i))
		if ok != (i%2 == 1) || ok && got != Status(i%3) {
			t.Fatalf("%s is %v, %v", name(i), got, ok)
		}
		if _, ok := m.Get(name(i + n)); ok {
			t.Fatalf("%s was never put", name(i+n))
		}
	}
	// A run of slots without an empty one is what looking for a name that is not there may have to pass.
	longest := 0
	for i := range m.parts {
		slots, run := m.parts[i].Load().slots, 0
		for at := range 2 * len(slots) {
			if run++; slots[at%len(slots)].word.Load() == 0 {
				run = 0
			}
			longest = max(longest, run)
		}
	}
	if longest > 500 {
		t.Errorf("looking for a name can take %d steps", longest)
	}
}
