package renewal

import (
	"testing"
	"time"
)

// TestClock: the time of a suspended machine counts; a step of the wall clock back does not.
func TestClock(t *testing.T) {
	var monotonic, wall time.Duration
	c := clock{read: func() (time.Duration, time.Duration) { return monotonic, wall }}
	for _, step := range []struct {
		name            string
		monotonic, wall time.Duration // that go by
		want            time.Duration // that counts
	}{
		{"both run", time.Minute, time.Minute, time.Minute},
		{"they differ by a little", time.Second, time.Second + 900*time.Millisecond, time.Second},
		{"both run on", time.Second, time.Second, time.Second},
		{"the wall clock goes back", time.Second, -time.Hour, time.Second},
		{"and is right again", time.Second, time.Second + time.Hour + time.Second, time.Second},
		{"the machine is suspended", 10 * time.Millisecond, 8 * time.Hour, 8*time.Hour + 900*time.Millisecond}, // with the little from above
		{"and again", 10 * time.Millisecond, 20 * time.Second, 20 * time.Second},
		{"both run at last", time.Minute, time.Minute, time.Minute},
	} {
		before := c.now()
		monotonic, wall = monotonic+step.monotonic, wall+step.wall
		if got := c.now() - before; got != step.want {
			t.Errorf("%s: %v counts, want %v", step.name, got, step.want)
		}
	}
}
