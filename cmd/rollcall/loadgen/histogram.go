package loadgen

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets, 128 to each doubling. A quantile of it is never below the true one
// and less than 1 % above it. It takes 37 KB however many durations are recorded. It is safe for use by
// many goroutines. Durations from 2^42 ns (73 minutes) on count as that.
type Histogram struct {
	buckets [bucketCount]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	longest atomic.Int64
}

const (
	stepBits    = 7  // of buckets to each doubling
	maxBits     = 42 // of nanoseconds
	bucketCount = (maxBits - stepBits + 1) << stepBits
)

// bucketOf returns the number of the bucket of ns. Below 2^8 ns every nanosecond has its own.
func bucketOf(ns int64) int {
	v := uint64(min(max(ns, 0), 1<<maxBits-1))
	shift := max(bits.Len64(v)-stepBits-1, 0)
	return shift<<stepBits + int(v>>shift)
}

// bucketTop returns the greatest number of nanoseconds that falls into a bucket.
func bucketTop(bucket int) int64 {
	shift := max(bucket>>stepBits-1, 0)
	return (int64(bucket-shift<<stepBits)+1)<<shift - 1
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) {
	ns := max(int64(d), 0)
	h.buckets[bucketOf(ns)].Add(1)
	h.sum.Add(ns)
	for {
		longest := h.longest.Load()
		if ns <= longest || h.longest.CompareAndSwap(longest, ns) {
			return
		}
	}
}

// Snapshot is what a Histogram held at one time, or recorded between two.
type Snapshot struct {
	buckets [bucketCount]uint64
	Count   uint64
	Max     time.Duration
	sum     time.Duration
}

// Snapshot returns what h holds now.
func (h *Histogram) Snapshot() *Snapshot {
	s := &Snapshot{sum: time.Duration(h.sum.Load()), Max: time.Duration(h.longest.Load())}
	for i := range h.buckets {
		s.buckets[i] = h.buckets[i].Load()
		s.Count += s.buckets[i]
	}
	return s
}

// Since returns what was recorded after earlier. Max is still that of all.
func (s *Snapshot) Since(earlier *Snapshot) *Snapshot {
	d := &Snapshot{sum: s.sum - earlier.sum, Max: s.Max, Count: s.Count - earlier.Count}
	for i := range s.buckets {
		d.buckets[i] = s.buckets[i] - earlier.buckets[i]
	}
	return d
}

// Quantile returns the duration that a share q of all does not exceed; 0 if there are none.
func (s *Snapshot) Quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(q*float64(s.Count))), 1)
	var seen uint64
	for i, n := range s.buckets {
		if seen += n; n > 0 && seen >= rank {
			return min(time.Duration(bucketTop(i)), s.Max)
		}
	}
	return s.Max
}

// Mean returns the mean; 0 if there are none.
func (s *Snapshot) Mean() time.Duration {
	if s.Count == 0 {
		return 0
	}
	return s.sum / time.Duration(s.Count)
}
