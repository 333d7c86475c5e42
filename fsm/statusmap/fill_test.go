package statusmap

import (
	"fmt"
	"sync"
	"testing"
	"unsafe"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const serving = healthpb.HealthCheckResponse_SERVING

type record struct {
	name   string
	status Status
}

func entryOf(r *record) (string, Status) { return r.name, r.status }

func serviceName(i int) string { return fmt.Sprintf("team-%d/service-%d", i%100, i) }

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
					*last = append(*last, record{name: serviceName(i), status: Status(i % 3)})
				}
				f := NewFilling(parts, entryOf)
				var filling sync.WaitGroup
				for range workers {
					filling.Go(f.Work)
				}
				filling.Wait()
				m, want := f.Finish(), New()
				for i := range services {
					want.Put(serviceName(i), Status(i%3))
				}
				if m.Services() != int64(services) {
					t.Errorf("%d services", m.Services())
				}
				for i := range services {
					if s, ok := m.Get(serviceName(i)); !ok || s != Status(i%3) {
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
					m.Put("more/"+serviceName(i), 0)
					m.Remove(serviceName(i))
				}
				_, old := m.Get(serviceName(0))
				_, last := m.Get("more/" + serviceName(services-1))
				if m.Services() != int64(services) || old || last != (services > 0) {
					t.Errorf("after replacing all: %d services", m.Services())
				}
			})
		}
	}
}

// A record for which its part has no room is not lost.
func TestFillingAFullPart(t *testing.T) {
	table := newTable(minSlots)
	f := NewFilling([][]record{nil}, entryOf)
	claim := func(name string) bool {
		return table.claim(wordOf(name, f.m.hash(name)).with(serving), unsafe.StringData(name))
	}
	for i := range minSlots {
		if !claim(serviceName(i)) {
			t.Fatalf("no room for record %d", i)
		}
	}
	late := &record{name: "late", status: serving}
	if claim(late.name) {
		t.Fatal("a full table took a record")
	}
	f.left = append(f.left, late)
	m := f.Finish()
	if s, ok := m.Get("late"); !ok || s != serving || m.Services() != 1 {
		t.Error("what was left over is not in the map")
	}
}
