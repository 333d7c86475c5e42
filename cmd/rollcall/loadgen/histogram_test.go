package loadgen

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLatencyBucketsJoinAndAreNarrow(t *testing.T) {
	next := int64(0) // least that the bucket must hold
	for bucket := range bucketCount {
		top := bucketTop(bucket)
		if got := bucketOf(next); got != bucket {
			t.Fatalf("%d ns is in bucket %d, want %d", next, got, bucket)
		}
		if got := bucketOf(top); got != bucket {
			t.Fatalf("%d ns is in bucket %d, want %d", top, got, bucket)
		}
		if width := top - next; width > next/128 {
			t.Fatalf("bucket %d from %d to %d ns is wider than 1/128", bucket, next, top)
		}
		next = top + 1
	}
	if next != 1<<maxBits {
		t.Errorf("the buckets end at %d ns, want 2^%d", next, maxBits)
	}
	for _, ns := range []int64{1 << maxBits, math.MaxInt64} {
		if got := bucketOf(ns); got != bucketCount-1 {
			t.Errorf("%d ns is in bucket %d, want the last", ns, got)
		}
	}
	if got := bucketOf(-1); got != 0 {
		t.Errorf("-1 ns is in bucket %d, want the first", got)
	}
}

func TestQuantilesAreLessThanAHundredthTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "nanoseconds")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var l Histogram
		for _, ns := range all {
			l.Record(time.Duration(ns))
		}
		slices.Sort(all)
		exact := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
		s := l.Snapshot()
		if got := int64(s.Quantile(q)); got < exact || got > exact+exact/100 {
			t.Fatalf("quantile %g is %d, want %d or a little more", q, got, exact)
		}
		if s.Count != uint64(len(all)) || int64(s.Max) != all[len(all)-1] {
			t.Fatalf("%d recorded, max %d; want %d, %d", s.Count, s.Max, len(all), all[len(all)-1])
		}
	})
}

func TestLatenciesOfNothingAndOfAWhile(t *testing.T) {
	var l Histogram
	nothing := l.Snapshot()
	if nothing.Quantile(0.99) != 0 || nothing.Mean() != 0 {
		t.Errorf("of nothing: p99 %s, mean %s", nothing.Quantile(0.99), nothing.Mean())
	}
	l.Record(time.Second)
	before := l.Snapshot()
	l.Record(10 * time.Nanosecond)
	l.Record(20 * time.Nanosecond)
	recent := l.Snapshot().Since(before)
	if recent.Count != 2 || recent.Quantile(1) != 20 || recent.Mean() != 15 {
		t.Errorf("recent: %d, max %s, mean %s", recent.Count, recent.Quantile(1), recent.Mean())
	}
}
