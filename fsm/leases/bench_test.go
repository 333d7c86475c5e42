package leases

import (
	"fmt"
	"slices"
	"testing"
)

// BenchmarkFill is what a start does with 100,000 services that are attached to leases.
func BenchmarkFill(b *testing.B) {
	const reports = 100_000
	for _, leases := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("leases=%d", leases), func(b *testing.B) {
			var all []Report[*int]
			for i := range reports {
				all = append(all, Report[*int]{lease: uint64(i % leases), Revision: int64(i * 7919 % reports)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if Fill(slices.Clone(all)).Len() != reports {
					b.Fatal("some are lost")
				}
			}
		})
	}
}
