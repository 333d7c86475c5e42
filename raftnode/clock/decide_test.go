package clock

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// base is the log's time in the tests' cases.
var base = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC).UnixNano()

const (
	ms  = time.Millisecond
	day = 24 * time.Hour
)

func TestMaxLogTime(t *testing.T) {
	if want := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(); limits.MaxLogTime != want {
		t.Errorf("%d, want %d", int64(limits.MaxLogTime), want)
	}
}

func TestDecide(t *testing.T) {
	const passed = 10 * time.Second
	// Clocks are given by their error against the true time, which is base and what has passed.
	for _, tt := range []struct {
		name    string
		unknown bool // steady is false
		empty   bool // the log has no time yet
		stopped time.Duration
		members int
		errors  []time.Duration
		want    time.Duration // of the stamp, against the true time
		leap    time.Duration
		held    time.Duration
		shaky   bool // not steady afterwards
	}{
		{name: "three agree", members: 3, errors: []time.Duration{-3 * ms, 0, 5 * ms}},
		{name: "one of three leapt ahead", members: 3, errors: []time.Duration{0, 60 * day, 2 * ms}, want: 2 * ms},
		{name: "one of three leapt back", members: 3, errors: []time.Duration{0, -60 * day, 2 * ms}},
		{name: "one of three is at 1970", members: 3, errors: []time.Duration{0, time.Duration(1 - base - int64(passed)), 2 * ms}},
		{name: "all three in small steps", members: 3, errors: []time.Duration{400 * ms, 500 * ms, 600 * ms}, want: 500 * ms},
		{name: "one answers, of three", members: 3, errors: []time.Duration{60 * day}},
		{name: "two answer, one leapt ahead", members: 3, errors: []time.Duration{60 * day, 0}},
		{name: "two answer, one leapt back", members: 3, errors: []time.Duration{0, -60 * day}},
		{name: "two of three leapt the same way", members: 3, errors: []time.Duration{60 * day, 60 * day, 0}, held: 60 * day},
		{name: "two of three leapt back the same way", members: 3, errors: []time.Duration{-time.Hour, -time.Hour, 0}, held: -time.Hour},
		{name: "two of three leapt, each its way", members: 3, errors: []time.Duration{60 * day, -60 * day, 0}},
		{name: "two of three leapt ahead differently", members: 3, errors: []time.Duration{60 * day, 90 * day, 0}, held: 60 * day},
		{name: "two of three leapt, the right one is away", members: 3, errors: []time.Duration{60 * day, 60 * day}, want: passed / 10, held: 60*day - passed/10},
		{name: "all three together ahead", members: 3, errors: []time.Duration{day, day, day + ms}, want: day, leap: day},
		{name: "all three together back", members: 3, errors: []time.Duration{-day, -day, -day}, want: -passed / 2, held: -day + passed/2},
		{name: "all that answer, but not all", members: 5, errors: []time.Duration{day, day, day}, want: passed / 10, held: day - passed/10},
		{name: "two of five are wrong", members: 5, errors: []time.Duration{day, 0, day, ms, 2 * ms}, want: 2 * ms},
		{name: "two of four are wrong", members: 4, errors: []time.Duration{day, 0, day, ms}, want: ms},
		{name: "a little behind", members: 1, errors: []time.Duration{-200 * ms}, want: -200 * ms},
		{name: "behind by less than what passed", members: 1, errors: []time.Duration{-3 * time.Second}, want: -3 * time.Second},
		{name: "one member, a step ahead", members: 1, errors: []time.Duration{60 * day}, want: passed / 10, held: 60*day - passed/10},
		{name: "one member, a step back", members: 1, errors: []time.Duration{-60 * day}, want: -passed / 2, held: -60*day + passed/2},
		{name: "one member, a small step", members: 1, errors: []time.Duration{900 * ms}, want: 900 * ms},
		{name: "two members, one stepped", members: 2, errors: []time.Duration{60 * day, 0}},
		{name: "two members, both stepped", members: 2, errors: []time.Duration{day, day}, want: passed / 10, held: day - passed/10},

		{name: "after a stop", unknown: true, stopped: 30 * day, members: 3, errors: []time.Duration{0, ms, 2 * ms}, want: ms, leap: 30*day + ms},
		{name: "after a stop, one wrong", unknown: true, stopped: 30 * day, members: 3, errors: []time.Duration{0, 90 * day, ms}, want: ms, leap: 30*day + ms},
		{name: "after a stop, two wrong, each its way", unknown: true, stopped: 30 * day, members: 3, errors: []time.Duration{0, 90 * day, 91 * day}, leap: 30 * day, held: 90 * day},
		{name: "after a stop, one of two answers", unknown: true, stopped: 30 * day, members: 3, errors: []time.Duration{0, 90 * day}, leap: 30 * day},
		{name: "after a stop, nobody answers", unknown: true, stopped: 30 * day, members: 3, errors: []time.Duration{0}, want: -30 * day, shaky: true},
		{name: "after a stop, alone", unknown: true, stopped: 30 * day, members: 1, errors: []time.Duration{0}, leap: 30 * day},
		{name: "after a stop, two members disagree", unknown: true, stopped: 30 * day, members: 2, errors: []time.Duration{0, 60 * day}, leap: 30 * day},
		{name: "after a stop, the clock is at 1970", unknown: true, members: 1, errors: []time.Duration{time.Duration(1 - base - int64(passed))},
			want: -passed / 2, held: time.Duration(1-base-int64(passed)) + passed/2},
		{name: "an empty log, all agree", unknown: true, empty: true, members: 3, errors: []time.Duration{0, ms, 2 * ms}, want: ms, leap: time.Duration(base) + ms},
		{name: "an empty log, one clock known", unknown: true, empty: true, members: 3, errors: []time.Duration{0}, shaky: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := situation{last: base, passed: passed, steady: !tt.unknown, members: tt.members}
			truth := base + int64(passed) + int64(tt.stopped)
			if tt.empty {
				s.last = 0
			}
			for _, e := range tt.errors {
				s.readings = append(s.readings, truth+int64(e))
			}
			slices.Sort(s.readings)
			got := decide(s)
			want := verdict{time: truth + int64(tt.want), steady: !tt.shaky, leap: tt.leap, held: tt.held}
			if got != want {
				t.Errorf("stamped %s from the true time, %+v\nwant    %s, %+v", time.Duration(got.time-truth), got, tt.want, want)
			}
		})
	}
}

// A minority of wrong clocks, however wrong, moves nothing, whichever members answer.
func TestDecideWithstandsAMinority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(3, 9).Draw(t, "members")
		wrong := rapid.IntRange(0, (members-1)/2).Draw(t, "wrong")
		s := situation{last: base, passed: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "passed")), steady: true, members: members}
		truth := base + int64(s.passed)
		for range wrong {
			s.readings = append(s.readings, rapid.Int64Range(1, limits.MaxLogTime-1).Draw(t, "wrong clock"))
		}
		for range rapid.IntRange(0, members-wrong).Draw(t, "right") {
			s.readings = append(s.readings, truth+rapid.Int64Range(-int64(100*ms), int64(100*ms)).Draw(t, "right clock"))
		}
		slices.Sort(s.readings)
		v := decide(s)
		if off := time.Duration(v.time - truth); off > Tolerance || off < -Tolerance && off < -s.passed/holdBack || v.leap != 0 {
			if 2*len(s.readings) > members && len(s.readings)-wrong == 0 {
				return // only wrong clocks answer: a quorum of them cannot be, as they are a minority
			}
			t.Fatalf("%d of %d clocks are wrong, %d answer: stamped %s from the true time, %+v", wrong, members, len(s.readings), off, v)
		}
	})
}

// Whatever the clocks show: log time never goes back, runs at least at half speed and, while the cluster
// runs and not all clocks agree on a leap, gains at most a tenth of what passes and Tolerance.
func TestDecideBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(1, 9).Draw(t, "members")
		s := situation{
			last:    rapid.Int64Range(1, base).Draw(t, "last"),
			passed:  time.Duration(rapid.Int64Range(0, int64(50*365*day)).Draw(t, "passed")),
			steady:  rapid.Bool().Draw(t, "steady"),
			members: members,
		}
		for range rapid.IntRange(0, members).Draw(t, "answers") {
			s.readings = append(s.readings, rapid.Int64Range(1, limits.MaxLogTime-1).Draw(t, "clock"))
		}
		slices.Sort(s.readings)
		before := slices.Clone(s.readings)
		v := decide(s)
		if !slices.Equal(before, s.readings) {
			t.Fatal("the readings were changed")
		}
		if v.time < s.last+int64(s.passed)/holdBack {
			t.Fatalf("%+v: %+v is too slow", s, v)
		}
		if s.steady && !v.steady {
			t.Fatalf("%+v: %+v forgot that the cluster runs", s, v)
		}
		if limit := s.last + int64(s.passed) + int64(s.passed)/catchUp + int64(Tolerance); s.steady && v.leap == 0 && v.time > limit {
			t.Fatalf("%+v: %+v is too fast", s, v)
		}
		if v.leap > 0 && s.steady && (members < 3 || len(s.readings) < members) {
			t.Fatalf("%+v: %+v leaps", s, v)
		}
		if v.time < 0 || v.leap < 0 {
			t.Fatalf("%+v: %+v", s, v)
		}
	})
}
