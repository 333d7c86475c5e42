package fsm

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

const benchIdentities = 10_000

func benchIdentity(i int) string { return fmt.Sprintf("cert:agent-%d", i) }

// benchAccess is a registry of 10,000 services and as many identities, each with ten grants.
func benchAccess(b *testing.B, enforced bool) (*FSM, uint64) {
	f, index := benchFSM(b, benchIdentities)
	for at := 0; at < benchIdentities; at += 500 {
		var cmds []*logv1.Command
		for i := at; i < at+500; i++ {
			var patterns []string
			for k := range 9 {
				patterns = append(patterns, fmt.Sprintf("team-%d/other-%d/*", i%100, k))
			}
			cmds = append(cmds, putGrants(benchIdentity(i), grantOver("reporter", append(patterns, serviceName(i))...)))
		}
		index++
		f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: cmds}))
	}
	if enforced {
		index++
		f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{by("static", setAuth(true, "viewer"))}}))
	}
	if f.Access().Enforced() != enforced || f.Access().rights().s.tables.find(grantsKind).records.Len() != benchIdentities {
		b.Fatal("the registry is not as it should be")
	}
	return f, index
}

// BenchmarkFoldWithAccess folds entries of 64 writes, each by another identity, while access is enforced and while it is
// off.
func BenchmarkFoldWithAccess(b *testing.B) {
	const commands = 64
	for name, enforced := range map[string]bool{"off": false, "enforced": true} {
		b.Run(name, func(b *testing.B) {
			f, index := benchAccess(b, enforced)
			var sealed [][]byte
			for k := range 200 {
				var cmds []*logv1.Command
				for i := range commands {
					who := (k*commands + i) % benchIdentities
					status := serving
					if k%2 == 0 {
						status = notServing
					}
					cmds = append(cmds, by(benchIdentity(who), write(change(serviceName(who), status))))
				}
				data, err := logv1.Seal(&logv1.Entry{Commands: cmds})
				if err != nil {
					b.Fatal(err)
				}
				sealed = append(sealed, data)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				index++
				results := f.Apply(&raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: sealed[i%len(sealed)]})
				if r := results.([]any)[0].(*Result); r.refusal != nil {
					b.Fatal(r.refusal)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*commands), "ns/write")
		})
	}
}

// BenchmarkPermissions computes what one of 10,000 identities may do, and asks it.
func BenchmarkPermissions(b *testing.B) {
	f, _ := benchAccess(b, true)
	b.Run("compute", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.Access().Permissions(benchIdentity(i % benchIdentities))
		}
	})
	p, who := f.Access().Permissions(benchIdentity(7)), serviceName(7)
	b.Run("ask", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !p.Allows(access.Report, who) {
				b.Fatal("denied")
			}
		}
	})
	b.Run("reads open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !f.ReadsOpen() {
				b.Fatal("closed")
			}
		}
	})
	b.Run("token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.Access().Token("0000000000000000")
		}
	})
}

// BenchmarkTurnAway asks before each of the same writes whether its caller may do it.
func BenchmarkTurnAway(b *testing.B) {
	for name, enforced := range map[string]bool{"off": false, "enforced": true} {
		b.Run(name, func(b *testing.B) {
			f, _ := benchAccess(b, enforced)
			cmds := make([]*logv1.Command, benchIdentities)
			for i := range cmds {
				cmds[i] = by(benchIdentity(i), write(change(serviceName(i), serving)))
				f.TurnAway(cmds[i], clockAt(1))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if r := f.TurnAway(cmds[i%len(cmds)], clockAt(1)); r != nil {
					b.Fatal(r.refusal)
				}
			}
		})
	}
}
