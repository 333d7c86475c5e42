package fsm

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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

// BenchmarkWriteOfLeases is a write that names a lease, beside the same write without one. The leases have many
// services each.
func BenchmarkWriteOfLeases(b *testing.B) {
	const services, leaseCount = 100_000, 1000
	id := func(i int) string { return fmt.Sprintf("%016x", i%leaseCount) }
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("leased=%v", with), func(b *testing.B) {
			f, index := benchFSM(b, 0)
			for i := range leaseCount {
				index = applyEach(b, f, index, grantOf(id(i)))
			}
			made := func(i int, st logv1.Status) *logv1.Change {
				c := change(serviceName(i), st)
				if with {
					c.LeaseId = id(i)
				}
				return c
			}
			for from := 0; from < services; from += limits.MaxChanges {
				var changes []*logv1.Change
				for i := from; i < from+limits.MaxChanges; i++ {
					changes = append(changes, made(i, serving))
				}
				index = applyEach(b, f, index, write(changes...))
			}
			const entries = 1000
			var sealed [2][entries][]byte
			for k, st := range []logv1.Status{notServing, serving} {
				for i := range entries {
					sealed[k][i] = seal(b, write(made(i*7919%services, st)))
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				index++
				f.ApplyBatch([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: sealed[i/entries%2][i%entries]}})
			}
		})
	}
}

// parts hands out the records of a registry file as a start reads them: in parts, on all cores.
type parts struct {
	meta    *logv1.RegistryMeta
	records map[logv1.Kind][]logv1.KeyValue
}

// Load implements Loader.
func (p parts) Load(v logv1.Visitor) (*logv1.RegistryMeta, error) {
	const size = 5000
	var reading sync.WaitGroup
	var failed atomic.Pointer[error]
	for kind, records := range p.records {
		for number := 0; len(records) > 0; number++ {
			part := records[:min(size, len(records))]
			records = records[len(part):]
			reading.Go(func() {
				if err := v.Records(kind, number, part); err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	reading.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return p.meta, nil
}

// BenchmarkLoad is a start with 100,000 services, what reads them from disk left out.
func BenchmarkLoad(b *testing.B) {
	const services = 100_000
	for _, leaseCount := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprintf("leases=%d", leaseCount), func(b *testing.B) {
			p := parts{&logv1.RegistryMeta{Revision: 2 * services, LogTime: entryTime}, map[logv1.Kind][]logv1.KeyValue{}}
			put := func(kind logv1.Kind, key string, v logv1.Value) {
				p.records[kind] = append(p.records[kind], logv1.KeyValue{Key: []byte(key), Value: appendValue(nil, v)})
			}
			for i := range leaseCount {
				put(logv1.Kind_KIND_LEASE, fmt.Sprintf("%016x", i), &logv1.Lease{Ttl: second, OnExpiry: notServing, Revision: 1})
			}
			for i := range services {
				r := record{name: fmt.Sprintf("team/service-%06d", i), origin: &origin{time: entryTime, actor: internActor(nil)}, revision: int64(services + i*7919%services), status: isServing}
				if leaseCount > 0 {
					r.origin.leaseID = fmt.Sprintf("%016x", i%leaseCount)
				}
				put(logv1.Kind_KIND_SERVICE, r.name, &r)
			}
			b.ReportAllocs()
			for b.Loop() {
				s, _, _, err := loadState(p, DefaultKinds(), logv1.Level, HashVersion)
				if err != nil || leaseCount > 0 && s.attached.Len() != services {
					b.Fatal(err)
				}
			}
		})
	}
}
