package fsm

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestStatusMapIsAMap compares it with Go's, through growth, removal and coming back.
func TestStatusMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, model := newStatusMap(), map[string]*record{}
		names := rapid.SampledFrom([]int{1, 40, 3_000}).Draw(t, "names")
		steps := rapid.IntRange(1, 12).Draw(t, "steps")
		for range steps {
			from := rapid.IntRange(0, names-1).Draw(t, "from")
			put := rapid.Bool().Draw(t, "put")
			for i := from; i < min(names, from+max(1, names/3)); i++ {
				name := fmt.Sprint("s", i)
				if i == 0 {
					name = "" // the node's own, and what an empty record is called
				}
				before := model[name]
				if !put {
					if got := m.remove(name); got != (before != nil) {
						t.Fatalf("remove(%q) says %v", name, got)
					}
					delete(model, name)
					continue
				}
				r := &record{name: name, status: servingStatus(i % 3)}
				if got, want := m.put(r), before == nil || before.status != r.status; got != want {
					t.Fatalf("put(%q) says %v, want %v", name, got, want)
				}
				model[name] = r
			}
		}
		for i := range names {
			for _, name := range []string{fmt.Sprint("s", i), ""} {
				if got := m.get(name); got != model[name] {
					t.Fatalf("get(%q) is %v, want %v", name, got, model[name])
				}
			}
		}
		var counts [serviceUnknown + 1]int64
		seen := 0
		m.each(func(r *record) {
			seen++
			if model[r.name] != r {
				t.Fatalf("each shows %v", r)
			}
			if !isOwn(r.name) {
				counts[r.status]++
			}
		})
		if seen != len(model) {
			t.Fatalf("each shows %d records, want %d", seen, len(model))
		}
		for status := range counts {
			if got := m.counts[status].Load(); got != counts[status] {
				t.Fatalf("%d of status %d are counted, want %d", got, status, counts[status])
			}
		}
		m.retain(func(name string) bool { return name == "s1" })
		m.each(func(r *record) {
			if r.name != "s1" {
				t.Fatalf("%q was retained", r.name)
			}
		})
	})
}

// TestStatusMapWhileItChanges: a name that stays is always found, whatever is put and removed beside it
// and however often its table is made anew, and never in an older state than before.
func TestStatusMapWhileItChanges(t *testing.T) {
	m := newStatusMap()
	const stay, come, rounds = 50, 5_000, 4
	staying := func(i int) string { return fmt.Sprint("stays-", i) }
	for i := range stay {
		m.put(&record{name: staying(i)})
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var last [stay]int64
			for {
				for i := range stay {
					r := m.get(staying(i))
					if r == nil || r.name != staying(i) || r.revision < last[i] {
						t.Errorf("%s is %+v after revision %d", staying(i), r, last[i])
						return
					}
					last[i] = r.revision
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for round := range int64(rounds) {
		for i := range come {
			m.put(&record{name: fmt.Sprint("comes-", round, "-", i)})
			m.put(&record{name: staying(i % stay), revision: round*come + int64(i)})
		}
		for i := range come {
			m.remove(fmt.Sprint("comes-", round, "-", i))
		}
	}
	close(done)
	readers.Wait()
	slots := 0
	for i := range m.parts {
		slots += len(*m.parts[i].table.Load())
	}
	if slots > 16*(stay+come) {
		t.Errorf("%d slots for %d records at most", slots, stay+come)
	}
}
