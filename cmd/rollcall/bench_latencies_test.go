package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLatencyBucketsJoinAndAreNarrow(t *testing.T) {
	next := int64(0) // least that the bucket must hold
	for bucket := range latencyBuckets {
		top := latencyTop(bucket)
		if got := latencyBucket(next); got != bucket {
			t.Fatalf("%d ns is in bucket %d, want %d", next, got, bucket)
		}
		if got := latencyBucket(top); got != bucket {
			t.Fatalf("%d ns is in bucket %d, want %d", top, got, bucket)
		}
		if width := top - next; width > next/128 {
			t.Fatalf("bucket %d from %d to %d ns is wider than 1/128", bucket, next, top)
		}
		next = top + 1
	}
	if next != 1<<latencyMaxBits {
		t.Errorf("the buckets end at %d ns, want 2^%d", next, latencyMaxBits)
	}
	for _, ns := range []int64{1 << latencyMaxBits, math.MaxInt64} {
		if got := latencyBucket(ns); got != latencyBuckets-1 {
			t.Errorf("%d ns is in bucket %d, want the last", ns, got)
		}
	}
	if got := latencyBucket(-1); got != 0 {
		t.Errorf("-1 ns is in bucket %d, want the first", got)
	}
}

func TestQuantilesAreLessThanAHundredthTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "nanoseconds")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var l latencies
		for _, ns := range all {
			l.record(time.Duration(ns))
		}
		slices.Sort(all)
		exact := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
		s := l.spread()
		if got := int64(s.quantile(q)); got < exact || got > exact+exact/100 {
			t.Fatalf("quantile %g is %d, want %d or a little more", q, got, exact)
		}
		if s.count != uint64(len(all)) || int64(s.max) != all[len(all)-1] {
			t.Fatalf("%d recorded, max %d; want %d, %d", s.count, s.max, len(all), all[len(all)-1])
		}
	})
}

func TestLatenciesOfNothingAndOfAWhile(t *testing.T) {
	var l latencies
	nothing := l.spread()
	if nothing.quantile(0.99) != 0 || nothing.mean() != 0 {
		t.Errorf("of nothing: p99 %s, mean %s", nothing.quantile(0.99), nothing.mean())
	}
	l.record(time.Second)
	before := l.spread()
	l.record(10 * time.Nanosecond)
	l.record(20 * time.Nanosecond)
	recent := l.spread().since(before)
	if recent.count != 2 || recent.quantile(1) != 20 || recent.mean() != 15 {
		t.Errorf("recent: %d, max %s, mean %s", recent.count, recent.quantile(1), recent.mean())
	}
}

func TestNumbersForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234567: "1.23ms", 17623 * time.Microsecond: "17.6ms",
		9996 * time.Microsecond: "10ms", 10003 * time.Millisecond: "10s", 2 * time.Minute: "2m0s",
	} {
		if got := brief(d); got != want {
			t.Errorf("brief(%d) is %s, want %s", int64(d), got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) is %s, want %s", n, got, want)
		}
	}
}
