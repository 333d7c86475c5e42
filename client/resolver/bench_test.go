package resolver

import (
	"fmt"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// BenchmarkChange is what a change of one instance costs a process, for all its channels together.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint("instances=", n), func(b *testing.B) {
			seen := &observation{cluster: "X", instances: map[string]instance{}}
			for i := range n {
				address := fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250)
				seen.instances[address] = newInstance("checkout", is(address, client.Serving))
			}
			s := &state{service: "checkout", panicPercent: 50}
			s.start(time.Now(), 2)
			s.opinion(view.Opinion{Heard: true})
			changed := []*rollcallv1.ServiceRecord{is("10.0.0.0:8080", client.NotServing), is("10.0.0.0:8080", client.Serving)}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := &observation{cluster: "X", revision: int64(i), instances: make(map[string]instance, n)}
				for address, i := range seen.instances {
					o.instances[address] = i
				}
				changed := newInstance("checkout", changed[i%2])
				o.instances[changed.address] = changed
				s.take(time.Now(), event{seen: o})
				if l, _ := s.next(time.Now()); len(l.addresses) < n-1 {
					b.Fatal(len(l.addresses))
				}
			}
		})
	}
}
