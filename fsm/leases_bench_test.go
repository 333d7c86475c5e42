package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// BenchmarkExpiryOfManyServices is what it takes to apply the expiry of one lease that 100,000 services are attached
// to: how long the longest of its entries holds everything else up, and all of them together.
func BenchmarkExpiryOfManyServices(b *testing.B) {
	const services = 100_000
	for _, watched := range []bool{false, true} {
		who := map[bool]string{false: "none", true: "all"}[watched]
		b.Run("watched="+who, func(b *testing.B) {
			f, index := benchFSM(b, 0)
			name := func(i int) string { return fmt.Sprintf("shop/service-%06d", i) }
			sent := &sends{}
			var longest, all []time.Duration
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				id := fmt.Sprintf("%016x", n)
				index = applyEach(b, f, index, grantOf(id))
				for from := 0; from < services; from += limits.MaxChanges {
					var changes []*logv1.Change
					for i := from; i < from+limits.MaxChanges; i++ {
						changes = append(changes, leased(name(i), serving, id))
					}
					index = applyEach(b, f, index, write(changes...))
				}
				if watched && n == 0 {
					sent = watchMany(b, f, services, name)
				}
				if watched {
					sent.await((2*n + 1) * services)
				}
				expiry := seal(b, expireLeases(f.Revision(), id))
				b.StartTimer()
				entry, begun := time.Duration(0), time.Now()
				for f.Lease(id) != nil {
					index++
					began := time.Now()
					f.ApplyBatch([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: expiry}})
					entry = max(entry, time.Since(began))
				}
				longest, all = append(longest, entry), append(all, time.Since(begun))
				if watched {
					sent.await((2*n + 2) * services)
				}
			}
			if st, _ := f.Status(name(services - 1)); st != isNotServing {
				b.Fatalf("the last service is %s", st)
			}
			slices.Sort(longest)
			slices.Sort(all)
			b.ReportMetric(float64(longest[len(longest)/2].Nanoseconds())/1e6, "ms/longest-apply")
			b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e6, "ms/expiry")
		})
	}
}
