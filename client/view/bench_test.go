package view

import (
	"fmt"
	"runtime"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// BenchmarkGet is what each call of a program pays.
func BenchmarkGet(b *testing.B) {
	for _, names := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			v := filled(b, names, 2)
			name := v.names[names/2]
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				off := 0
				for pb.Next() {
					if v.Get(name).Off {
						off++
					}
				}
				if off > 0 {
					b.Error("it is off")
				}
			})
		})
	}
}

// BenchmarkUpdate is what a change of one of 10,000 names costs, told by both watches.
func BenchmarkUpdate(b *testing.B) {
	v := filled(b, 10_000, 2)
	b.ReportAllocs()
	revision := int64(2)
	for b.Loop() {
		revision++
		name := v.names[revision%10_000]
		for _, w := range v.watches {
			v.update(w, client.ServicesUpdate{Revision: revision, Cluster: "c", Synced: true, Services: []*rollcallv1.ServiceRecord{reported(name, client.Serving, revision)}})
		}
	}
}

// BenchmarkMemory reports what a View of 10,000 names keeps, records included, when both watches have told all.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		v := filled(b, 10_000, 2)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "B/name")
		runtime.KeepAlive(v)
	}
}

// filled is a View whose watches have told the state of all names.
func filled(tb testing.TB, names, watches int) *View {
	all := make([]string, names)
	for i := range all {
		all[i] = fmt.Sprintf("shop/cart/10.0.%d.%d:8080", i/256, i%256)
	}
	v, err := New(newClient(tb), all)
	if err != nil {
		tb.Fatal(err)
	}
	for _, w := range v.watches[:watches] {
		u := client.ServicesUpdate{Revision: 1, Cluster: "c", Synced: true}
		for _, name := range all {
			u.Services = append(u.Services, reported(name, client.Serving, 1))
		}
		v.update(w, u)
	}
	return v
}
