package fsm

import (
	"fmt"
	"sync"
	"testing"
	"unsafe"
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
				f := newFilling(parts)
				var filling sync.WaitGroup
				for range workers {
					filling.Go(f.work)
				}
				filling.Wait()
				m, want := f.finish(), newStatusMap()
				for i := range services {
					want.put(serviceName(i), servingStatus(i%3))
				}
				if m.services() != int64(services) {
					t.Errorf("%d services", m.services())
				}
				for i := range services {
					if s, ok := m.get(serviceName(i)); !ok || s != servingStatus(i%3) {
						t.Fatalf("%s is %v, %v", serviceName(i), s, ok)
					}
				}
				for i := range m.counts {
					if have, want := m.counts[i].Load(), want.counts[i].Load(); have != want {
						t.Errorf("%d of status %d, want %d", have, i, want)
					}
				}
				for i := range m.parts {
					if p := m.parts[i].Load(); p.used != p.live || p.full() {
						t.Errorf("part %d: %d used, %d live, of %d slots", i, p.used, p.live, len(p.slots))
					}
				}
				// It goes on as any other.
				for i := range services {
					m.put("more/"+serviceName(i), 0)
					m.remove(serviceName(i))
				}
				_, old := m.get(serviceName(0))
				_, last := m.get("more/" + serviceName(services-1))
				if m.services() != int64(services) || old || last != (services > 0) {
					t.Errorf("after replacing all: %d services", m.services())
				}
			})
		}
	}
}

// A record for which its part has no room is not lost.
func TestFillingAFullPart(t *testing.T) {
	table := newStatusTable(minStatusSlots)
	f := newFilling([][]record{nil})
	claim := func(name string) bool {
		return table.claim(wordOf(name, f.m.hash(name)).with(servingStatus(serving)), unsafe.StringData(name))
	}
	for i := range minStatusSlots {
		if !claim(serviceName(i)) {
			t.Fatalf("no room for record %d", i)
		}
	}
	late := &record{name: "late", status: servingStatus(serving)}
	if claim(late.name) {
		t.Fatal("a full table took a record")
	}
	f.left = append(f.left, late)
	m := f.finish()
	if s, ok := m.get("late"); !ok || s != servingStatus(serving) || m.services() != 1 {
		t.Error("what was left over is not in the map")
	}
}
