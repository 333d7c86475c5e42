package expiry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fold is overrides with their times, of a leader whose proposals fail with err.
type fold struct {
	due     map[string]int64
	leads   bool
	term    uint64
	err     error
	refusal *logv1.Refusal

	proposed []*logv1.Command
}

func (f *fold) config(log *bytes.Buffer) Config {
	return Config{
		Node: "n1",
		Due: func(now int64, limit int) (due []*logv1.ExpiredOverride) {
			for p, at := range f.due {
				if at <= now && len(due) < limit {
					due = append(due, &logv1.ExpiredOverride{Pattern: p, Revision: 7})
				}
			}
			return due
		},
		Clock:   func() int64 { return time.Now().UnixNano() },
		Term:    func() uint64 { return f.term },
		Leading: func() bool { return f.leads },
		Propose: func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			f.proposed = append(f.proposed, cmd)
			if f.err != nil || f.refusal != nil {
				return &logv1.Result{Refusal: f.refusal}, f.err
			}
			for _, o := range cmd.GetExpire().GetOverrides() {
				delete(f.due, o.GetPattern())
			}
			return &logv1.Result{}, nil
		},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
}

// run has an Expirer work for some time.
func (f *fold) run(long time.Duration) string {
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	New(f.config(&log)).Run(ctx)
	return log.String()
}

func (f *fold) at(patterns int, after time.Duration) {
	f.due = map[string]int64{}
	for i := range patterns {
		f.due[strings.Repeat("a", i+1)] = time.Now().Add(after).UnixNano()
	}
}

func TestOverridesEndWhenTheirTimeHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fold{leads: true, term: 3}
		f.at(1, time.Minute)
		if log := f.run(time.Minute - time.Millisecond); log != "" || len(f.proposed) > 0 {
			t.Errorf("too early: %v, %s", f.proposed, log)
		}
		f.run(time.Second)
		if len(f.proposed) != 1 || f.proposed[0].GetExpire().GetTerm() != 3 || f.proposed[0].GetExpire().GetOverrides()[0].GetRevision() != 7 ||
			!f.proposed[0].GetActor().GetVerified() {
			t.Errorf("proposed %v", f.proposed)
		}
	})
}

func TestMoreThanOneCommandHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fold{leads: true}
		f.at(2*maxAtOnce+1, 0)
		f.run(lookEvery + time.Millisecond)
		if len(f.proposed) != 3 || len(f.due) != 0 {
			t.Errorf("%d commands, %d overrides left", len(f.proposed), len(f.due))
		}
	})
}

func TestOnlyALeaderEndsOverrides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fold{}
		f.at(1, 0)
		if log := f.run(time.Minute); log != "" || len(f.proposed) > 0 {
			t.Errorf("proposed %v, %s", f.proposed, log)
		}
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		fold fold
		said string // how often a line says so within a minute
		want int
	}{
		"an error":     {fold{err: errors.New("no quorum")}, `error="no quorum"`, 6},
		"a refusal":    {fold{refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID}}, "REASON_INVALID", 6},
		"another term": {fold{refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_STALE}}, "level=WARN", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &test.fold
				f.leads = true
				f.at(1, 0)
				log := f.run(time.Minute - time.Millisecond)
				if n := strings.Count(log, test.said); n != test.want {
					t.Errorf("said %d times: %s", n, log)
				}
				if n := len(f.proposed); n < 500 {
					t.Errorf("tried %d times", n)
				}
			})
		})
	}
}
