package budget

import (
	"testing"

	"google.golang.org/grpc/peer"
)

// BenchmarkBudget is what each write takes and gives back, from a few connections.
func BenchmarkBudget(b *testing.B) {
	budget := New("change-bytes", 1<<30, 1<<28, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		connection := &peer.Peer{}
		for pb.Next() {
			if f := budget.Take(connection, 5_000); f != nil {
				b.Fatal(f)
			}
			budget.Give(connection, 5_000)
		}
	})
}
