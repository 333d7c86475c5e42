package duration

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": -time.Hour, "300ms": 310 * time.Millisecond, "2.5s": 2540 * time.Millisecond, "10s": 9990 * time.Millisecond,
		"42s": 42*time.Second + 999*time.Millisecond, "1m0s": time.Minute, "4m12s": 4*time.Minute + 12*time.Second,
		"3h20m": 3*time.Hour + 20*time.Minute + 59*time.Second, "47h59m": 48*time.Hour - time.Second, "5d3h": 123*time.Hour + 59*time.Minute,
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%v) = %q, want %q", d, got, want)
		}
	}
}
