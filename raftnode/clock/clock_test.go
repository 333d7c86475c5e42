package clock

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// testClock is a Clock of n1, one of three members, in the virtual time of a bubble.
func testClock(logTime int64) (c *Clock, ahead *time.Duration, log *bytes.Buffer) {
	ahead, log = new(time.Duration), new(bytes.Buffer)
	begun := time.Now()
	return New(Config{
		Node: "n1", Members: 3,
		Wall:    func() time.Time { return time.Now().Add(*ahead) },
		Lived:   func() time.Duration { return time.Since(begun) + time.Hour },
		LogTime: func() int64 { return logTime },
		Leads:   func() bool { return false },
		Logger:  slog.New(slog.NewTextHandler(log, nil)),
	}), ahead, log
}

func reading(ahead time.Duration) Reading { return Reading{Wall: time.Now().Add(ahead).UnixNano()} }

// What a member answers is a reading only if it can be one.
func TestNonsenseIsNoReading(t *testing.T) {
	for name, tt := range map[string]struct {
		answer Reading
		after  time.Duration // the round trip
		counts bool
	}{
		"a clock":              {answer: Reading{Wall: 1}, counts: true},
		"zero":                 {answer: Reading{}},
		"before 1970":          {answer: Reading{Wall: -5}},
		"the least number":     {answer: Reading{Wall: -1 << 63}},
		"the greatest number":  {answer: Reading{Wall: 1<<63 - 1}},
		"after two seconds":    {answer: Reading{Wall: 1}, after: 2 * time.Second},
		"a log time of nobody": {answer: Reading{Wall: 1, LogTime: 1<<63 - 1, Leads: true}, counts: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, _ := testClock(0)
				sent := c.cfg.Lived()
				time.Sleep(tt.after)
				c.Note("n2", tt.answer, sent)
				if got := len(c.Offsets()) == 2; got != tt.counts {
					t.Errorf("it counts: %v", got)
				}
				if c.steady || c.Now() > time.Now().UnixNano() {
					t.Errorf("the log's time was taken over: %d", c.Now())
				}
			})
		})
	}
}

// A member that was just started takes from one that knows that the cluster has run.
func TestSteadinessIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := time.Now().Add(-time.Hour).UnixNano()
		c, ahead, _ := testClock(last)
		if ready, _ := c.Ready(); ready || c.Read().LogTime != 0 {
			t.Error("a member that has just started knows the cluster's time")
		}
		r := reading(0)
		r.LogTime = time.Now().Add(-time.Minute).UnixNano() // the cluster's log is behind the clocks, for a reason
		c.Note("n2", r, c.cfg.Lived())
		if ready, _ := c.Ready(); !ready || c.Read().LogTime != r.LogTime {
			t.Errorf("not ready, or log time %d, want %d", c.Read().LogTime, r.LogTime)
		}
		*ahead = 60 * 24 * time.Hour
		time.Sleep(10 * time.Second)
		if off := time.Duration(c.Now() - r.LogTime - int64(10*time.Second)); off.Abs() > time.Second {
			t.Errorf("log time is %s from what the cluster says", off)
		}
		// Another that does not lead does not know better. The leader does.
		other := reading(0)
		other.LogTime = r.LogTime + int64(time.Hour)
		c.Note("n3", other, c.cfg.Lived())
		if c.Read().LogTime != r.LogTime+int64(10*time.Second) {
			t.Error("taken from a follower")
		}
		other.Leads = true
		c.Note("n3", other, c.cfg.Lived())
		if c.Read().LogTime != other.LogTime {
			t.Error("not taken from the leader")
		}
	})
}

// Readings count for a while, and not for one that left the cluster.
func TestReadingsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := testClock(time.Now().UnixNano())
		c.Note("n2", reading(0), c.cfg.Lived())
		c.Note("n3", reading(time.Hour), c.cfg.Lived())
		if got := c.Offsets(); len(got) != 3 || got[0].Member != "n1" || !got[2].Off || got[2].By.Round(time.Minute) != time.Hour {
			t.Errorf("%+v", got)
		}
		c.SetMembers([]string{"n1", "n2"})
		if got := c.Offsets(); len(got) != 2 {
			t.Errorf("%+v", got)
		}
		time.Sleep(lately + time.Second)
		if got := c.Offsets(); len(got) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// A cluster that was stopped for an hour: until most members have answered, the time of the last log entry says
// nothing of a clock. Once they have, a clock that is off is told.
func TestNoClockIsOffBeforeMostMembersAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, log := testClock(time.Now().Add(-time.Hour).UnixNano())
		for range 3 {
			c.Look()
			if got := c.Offsets(); len(got) != 1 || got[0].Off || got[0].By != 0 {
				t.Errorf("%+v", got)
			}
			time.Sleep(MeasureEvery)
		}
		if log.Len() != 0 {
			t.Errorf("told %s", log)
		}
		c.Note("n2", reading(0), c.cfg.Lived())
		c.Note("n3", reading(time.Minute), c.cfg.Lived())
		c.Look()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="a member's clock is off" member=n3 by=1m0s`) {
			t.Errorf("told %q", got)
		}
	})
}

// Steps and clocks that are off are told once.
func TestLookTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ahead, log := testClock(time.Now().UnixNano())
		told := func(want ...string) {
			t.Helper()
			for range 3 {
				time.Sleep(MeasureEvery)
				c.Note("n2", reading(0), c.cfg.Lived())
				c.Note("n3", reading(0), c.cfg.Lived())
				c.Look()
			}
			var got []string
			for line := range strings.Lines(log.String()) {
				_, line, _ = strings.Cut(line, "level=")
				got = append(got, strings.TrimSpace(line))
			}
			log.Reset()
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		told()
		*ahead = time.Hour
		told(`WARN msg="the clock of this node stepped" by=1h0m0s`, `WARN msg="a member's clock is off" member=n1 by=1h0m0s`)
		*ahead = 100 * time.Millisecond
		told(`WARN msg="the clock of this node stepped" by=-59m59.9s`, `INFO msg="a member's clock is right again" member=n1`)
	})
}

// Whatever comes over the connection, the side that asks gets a reading or an error, in its time.
func TestExchange(t *testing.T) {
	valid, err := (&peerv1.ClockReading{Wall: 1}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		answer []byte
		want   string
	}{
		"a reading":      {append([]byte{byte(len(valid))}, valid...), ""},
		"half a reading": {[]byte{200, 1, 2}, "EOF"},
		"nothing":        {nil, "EOF"},
		"no protobuf":    {[]byte{3, 255, 255, 255}, "reading of the clock of n2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, _ := testClock(0)
				near, far := net.Pipe()
				go func() {
					_, _ = io.ReadFull(far, make([]byte, 1))
					_, _ = far.Write(tt.answer)
					far.Close()
				}()
				_, err := c.Measure("n2", near)
				near.Close()
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			})
		})
	}
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _, _ := testClock(0)
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			begin := time.Now()
			if _, err := c.Measure("n2", near); err == nil || time.Since(begin) > 2*maxRoundTrip {
				t.Errorf("%v after %s", err, time.Since(begin))
			}
			near.Close()
			far.Close()
		})
	})
	t.Run("two members", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, _, _ := testClock(0)
			b, ahead, _ := testClock(0)
			*ahead = time.Minute
			near, far := net.Pipe()
			served := make(chan struct{})
			go func() { b.Serve(far, func(*peerv1.ClockReading) {}); close(served) }()
			for range 3 {
				if _, err := a.Measure("n2", near); err != nil {
					t.Fatal(err)
				}
			}
			if got := a.Offsets(); len(got) != 2 || (got[1].By-got[0].By).Round(time.Millisecond) != time.Minute {
				t.Errorf("%+v", got)
			}
			if _, err := near.Write([]byte{7}); err != nil { // not a question
				t.Error(err)
			}
			<-served
			near.Close()
		})
	})
}

// A stamp costs no allocation.
func BenchmarkStamp(b *testing.B) {
	c, _, _ := testClock(time.Now().UnixNano())
	c.Note("n2", reading(0), c.cfg.Lived())
	c.Note("n3", reading(time.Millisecond), c.cfg.Lived())
	b.ReportAllocs()
	for b.Loop() {
		c.Stamp()
	}
}

// A new cluster has no log time yet: that its first entry is of today is no leap.
func TestTheFirstEntryIsNoLeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for logTime, leaps := range map[int64]bool{0: false, time.Now().Add(-48 * time.Hour).UnixNano(): true} {
			c, _, log := testClock(logTime)
			for _, member := range []string{"n2", "n3"} {
				c.Note(member, reading(0), c.cfg.Lived())
			}
			c.Stamp()
			if got := strings.Contains(log.String(), "log time moves ahead"); got != leaps {
				t.Errorf("log time %d: a leap was logged: %v: %s", logTime, got, log)
			}
		}
	})
}
