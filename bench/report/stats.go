package report

import (
	"cmp"
	"slices"
)

// Median is the middle of values, the mean of the two middle ones if their count is even, 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Range is the least and the greatest of values, 0 and 0 of none.
func Range(values []float64) (least, greatest float64) {
	if len(values) == 0 {
		return 0, 0
	}
	return slices.Min(values), slices.Max(values)
}

// Quantile is the value of sorted that a share q of them does not exceed (nearest rank), the zero
// value of none.
func Quantile[T cmp.Ordered](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	rank := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Ratios are those of ours to theirs, a round at a time: what made the machine slow in a round made it
// slow for both. Rounds that one of them lacks, or in which theirs is 0, are left out.
func Ratios(ours, theirs []float64) []float64 {
	var r []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] != 0 {
			r = append(r, ours[i]/theirs[i])
		}
	}
	return r
}
