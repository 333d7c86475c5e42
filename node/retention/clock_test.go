package retention

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	const day = 24 * time.Hour
	type step struct {
		after   time.Duration // since the step before
		logTime time.Duration // since the beginning
		want    time.Duration
	}
	for name, steps := range map[string][]step{
		"time passes": {{0, 0, 0}, {time.Minute, time.Minute, time.Minute}, {2 * time.Hour, 121 * time.Minute, 121 * time.Minute}},
		"a leap is believed after an hour": {
			{0, 0, 0}, {time.Second, 60 * day, time.Second}, {30 * time.Minute, 60*day + 30*time.Minute, 30*time.Minute + time.Second},
			{31 * time.Minute, 60*day + 61*time.Minute, 60*day + 61*time.Minute},
		},
		"a leap that is taken back": {
			{0, 0, 0}, {time.Second, 60 * day, time.Second}, {30 * time.Minute, 30 * time.Minute, 30 * time.Minute},
			{50 * time.Minute, 80 * time.Minute, 80 * time.Minute},
		},
		"two leaps, an hour after the second": {
			{0, 0, 0}, {time.Minute, 10 * day, time.Minute}, {59*time.Minute + 30*time.Second, 20 * day, time.Hour + 30*time.Second},
			{30 * time.Second, 20*day + 30*time.Second, 10*day + time.Hour}, {time.Hour, 20*day + time.Hour, 20*day + time.Hour},
		},
		"log time is slower than what passes": {{0, 0, 0}, {time.Hour, 30 * time.Minute, 30 * time.Minute}, {time.Hour, time.Hour, time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			r := clock{window: maxWindow}
			begin := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
			lived := 7 * time.Second
			for i, s := range steps {
				lived += s.after
				if got := r.at(lived, begin.Add(s.logTime).UnixNano()).Sub(begin); got != s.want {
					t.Errorf("step %d: history ages by %s, want %s", i, got, s.want)
				}
			}
			if most := int(maxWindow/compactEvery) + 2; len(r.samples) > most {
				t.Errorf("%d samples are kept", len(r.samples))
			}
		})
	}
}
