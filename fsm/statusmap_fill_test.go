package fsm

import (
	"fmt"
	"sync"
	"testing"
)

// A map that was filled at once is the one that putting each record makes.
func TestFilling(t *testing.T) {
	for _, services := range []int{0, 1, 300, 20_000} {
		for _, workers := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d services, %d workers", services, workers), func(t *testing.T) {
				var parts [][]record
				for i := range services {
					if i%100 == 0 {
						parts = append(parts, nil)
					}
					last := &parts[len(parts)-1]
					*last = append(*last, record{name: serviceName(i), status: servingStatus(i % 3)})
				}
				// Two of one name, which no journal holds: one of them is there, and counted once.
				if services > 0 {
					parts = append(parts, []record{{name: serviceName(0), status: 0}})
				}
				f := newFilling(parts)
				var filling sync.WaitGroup
				for range workers {
					filling.Go(f.work)
				}
				filling.Wait()
				m, want := f.finish(), newStatusMap()
				for i := range services {
					want.put(&record{name: serviceName(i), status: servingStatus(i % 3)})
				}
				if m.services() != int64(services) {
					t.Errorf("%d services", m.services())
				}
				for i := range services {
					if r := m.get(serviceName(i)); r == nil || r.name != serviceName(i) || r.status != servingStatus(i%3) {
						t.Fatalf("%s is %v", serviceName(i), r)
					}
				}
				for i := range m.counts {
					if have, want := m.counts[i].Load(), want.counts[i].Load(); have != want {
						t.Errorf("%d of status %d, want %d", have, i, want)
					}
				}
				for i := range m.parts {
					if p := &m.parts[i]; p.used != p.live || p.used > len(*p.table.Load())/2 {
						t.Errorf("part %d: %d used, %d live, of %d slots", i, p.used, p.live, len(*p.table.Load()))
					}
				}
				// It goes on as any other.
				for i := range services {
					m.put(&record{name: "more/" + serviceName(i)})
					m.remove(serviceName(i))
				}
				if m.services() != int64(services) || m.get(serviceName(0)) != nil || services > 0 && m.get("more/"+serviceName(services-1)) == nil {
					t.Errorf("after replacing all: %d services", m.services())
				}
			})
		}
	}
}

// A record for which its part has no room is not lost.
func TestFillingAFullPart(t *testing.T) {
	table := make(statusTable, minStatusSlots)
	for i := range minStatusSlots {
		if !table.claim(&record{name: serviceName(i)}, uint64(i/2)) {
			t.Fatalf("no room for record %d", i)
		}
	}
	late := &record{name: "late"}
	if table.claim(late, 3) {
		t.Fatal("a full table took a record")
	}
	f := newFilling([][]record{nil})
	f.left = append(f.left, late)
	if m := f.finish(); m.get("late") != late || m.services() != 1 {
		t.Error("what was left over is not in the map")
	}
}
