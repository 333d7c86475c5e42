package reach

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

const cut = After + time.Second

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		reports   map[string]Report
		reachedBy int
		voters    int
		want      Verdict
	}{
		"nobody can connect to one of three": {
			reports: map[string]Report{"n2": {Unreachable: cut, Reaches: 1, ReachedBy: 2}, "n3": {Unreachable: cut, Reaches: 1, ReachedBy: 2}},
			voters:  3, want: Verdict{By: []string{"n2", "n3"}, To: "n2"},
		},
		"the one that more reach, then the one that reaches more": {
			reports: map[string]Report{
				"n2": {Unreachable: cut, Reaches: 3, ReachedBy: 3}, "n3": {Unreachable: cut, Reaches: 2, ReachedBy: 4},
				"n4": {Unreachable: cut, Reaches: 3, ReachedBy: 4}, "n5": {Unreachable: cut, Reaches: 3, ReachedBy: 4},
			},
			voters: 5, want: Verdict{By: []string{"n2", "n3", "n4", "n5"}, To: "n4"},
		},
		"one of two others is no majority of three": {
			reports:   map[string]Report{"n2": {Unreachable: cut, Reaches: 1, ReachedBy: 2}, "n3": {Reaches: 2, ReachedBy: 2}},
			reachedBy: 1, voters: 3,
		},
		"half of four is none": {
			reports:   map[string]Report{"n2": {Unreachable: cut, Reaches: 2, ReachedBy: 3}, "n3": {Unreachable: cut, Reaches: 2, ReachedBy: 3}, "n4": {Reaches: 3, ReachedBy: 3}},
			reachedBy: 1, voters: 4,
		},
		"the other of two": {
			reports: map[string]Report{"n2": {Unreachable: cut, ReachedBy: 1}}, voters: 2,
		},
		"not for long enough": {
			reports: map[string]Report{"n2": {Unreachable: cut, Reaches: 1, ReachedBy: 2}, "n3": {Unreachable: After - 1, Reaches: 1, ReachedBy: 2}},
			voters:  3,
		},
		"who is silent says nothing": {
			reports: map[string]Report{"n2": {Unreachable: cut, Reaches: 1, ReachedBy: 2}}, voters: 3,
		},
		"a successor must reach a majority": {
			reports: map[string]Report{"n2": {Unreachable: cut, Reaches: 0, ReachedBy: 2}, "n3": {Unreachable: cut, Reaches: 1, ReachedBy: 1}},
			voters:  3, want: Verdict{By: []string{"n2", "n3"}, To: "n3"},
		},
		"a successor must be reached by a majority": {
			reports: map[string]Report{"n2": {Unreachable: cut, Reaches: 1, ReachedBy: 0}, "n3": {Unreachable: cut, Reaches: 1, ReachedBy: 0}},
			voters:  3, want: Verdict{By: []string{"n2", "n3"}},
		},
		"by a majority of five": {
			reports: map[string]Report{
				"n2": {Unreachable: cut, Reaches: 3, ReachedBy: 1}, "n3": {Unreachable: cut, Reaches: 3, ReachedBy: 1},
				"n4": {Unreachable: cut, Reaches: 3, ReachedBy: 1}, "n5": {Unreachable: cut, Reaches: 3, ReachedBy: 1},
			},
			voters: 5, want: Verdict{By: []string{"n2", "n3", "n4", "n5"}},
		},
		"a successor must be reached by more than the leader": {
			reports: map[string]Report{
				"n2": {Unreachable: cut, Reaches: 3, ReachedBy: 2}, "n3": {Unreachable: cut, Reaches: 3, ReachedBy: 2},
				"n4": {Unreachable: cut, Reaches: 3, ReachedBy: 2}, "n5": {Reaches: 3, ReachedBy: 2},
			},
			reachedBy: 2, voters: 5, want: Verdict{By: []string{"n2", "n3", "n4"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // maps are in another order each time
				if got := judge(tt.reports, tt.reachedBy, tt.voters); !reflect.DeepEqual(got, tt.want) {
					t.Fatalf("%+v, want %+v", got, tt.want)
				}
			}
		})
	}
}

// TestForgets: what was said and done counts until two rounds were missed.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Reach
		others := []string{"n2", "n3"}
		tell := func() {
			r.Asked("n3")
			for _, name := range others {
				r.Answered(name, Report{Unreachable: After - 7*time.Second, Reaches: 1, ReachedBy: 1, Leads: name == "n3"})
			}
		}
		if v := r.Judge(others); v.By != nil || !r.Heard("n3").IsZero() || r.Cuts() != nil {
			t.Errorf("it begins with %+v", v)
		}
		tell()
		time.Sleep(7 * time.Second)
		// n3 asks over a connection that is there, but cannot make one: that is no way to reach this node.
		if v := r.Judge(others); v.To != "n2" || len(v.By) != 2 {
			t.Errorf("%+v", v)
		}
		if leader := r.Leader(); leader != "" {
			t.Errorf("it would ask %q, which said once that it cannot connect", leader)
		}
		if got := r.Cuts(); len(got) != 2 || got[0].Member != "n2" || got[0].For != After || got[0].Leads || !got[1].Leads {
			t.Errorf("%+v", got)
		}
		if reaches, reachedBy := r.Count(others); reaches != 2 || reachedBy != 1 || time.Since(r.Heard("n3")) != 7*time.Second || !r.Heard("n2").IsZero() {
			t.Errorf("reaches %d, reached by %d", reaches, reachedBy)
		}
		time.Sleep(fresh - 7*time.Second)
		if v := r.Judge(others); len(v.By) != 2 {
			t.Errorf("just before a round was missed: %+v", v)
		}
		time.Sleep(time.Nanosecond)
		if v := r.Judge(others); v.By != nil || len(r.Cuts()) != 2 {
			t.Errorf("after a missed round: %+v, %v", v, r.Cuts())
		}
		if reaches, reachedBy := r.Count(others); reaches+reachedBy != 0 {
			t.Errorf("after a missed round: reaches %d, reached by %d", reaches, reachedBy)
		}
		time.Sleep(Lately - fresh - 1)
		if len(r.Cuts()) != 2 || r.Heard("n3").IsZero() {
			t.Errorf("just before two rounds were missed: %v", r.Cuts())
		}
		time.Sleep(time.Nanosecond)
		if v := r.Judge(others); v.By != nil || !r.Heard("n3").IsZero() || r.Cuts() != nil {
			t.Errorf("after two missed rounds: %+v, %v", v, r.Cuts())
		}
		if leader := r.Leader(); leader != "" {
			t.Errorf("it still takes %s for the leader", leader)
		}
		if reaches, reachedBy := r.Count(others); reaches+reachedBy != 0 {
			t.Errorf("reaches %d, reached by %d", reaches, reachedBy)
		}
		tell()
		r.SetMembers([]string{"n1", "n2"})
		if got := r.Cuts(); len(got) != 1 || !r.Heard("n3").IsZero() {
			t.Errorf("of a member that is none any more: %+v", got)
		}
		r.Answered("n2", Report{Unreachable: -1 << 63})
		if got := r.Cuts(); got != nil {
			t.Errorf("a nonsense answer: %+v", got)
		}
		r.Answered("n2", Report{Unreachable: 1<<63 - 1, Reaches: 1 << 30})
		time.Sleep(time.Second)
		if got := r.Cuts(); len(got) != 1 || got[0].For < cut {
			t.Errorf("another one: %+v", got)
		}
	})
}

// TestLeader: a leader that cannot connect to this node is asked once it has said so in two rounds, and as long as it
// answers.
func TestLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Reach
		for i, tt := range []struct {
			after time.Duration
			said  Report
			want  string
		}{
			{0, Report{Unreachable: time.Minute, Leads: true}, ""},
			{repeated - 1, Report{Unreachable: time.Minute, Leads: true}, ""},
			{1, Report{Unreachable: time.Minute, Leads: true}, "n2"},
			{5 * time.Second, Report{Unreachable: time.Minute}, ""}, // it leads no more
			{5 * time.Second, Report{Unreachable: time.Minute, Leads: true}, "n2"},
			{5 * time.Second, Report{Leads: true}, ""}, // it can connect
			{5 * time.Second, Report{Unreachable: time.Minute, Leads: true}, ""},
			{5 * time.Second, Report{Unreachable: time.Minute, Leads: true}, "n2"},
			{Lately + 1, Report{Unreachable: time.Minute, Leads: true}, ""}, // it was silent
		} {
			time.Sleep(tt.after)
			r.Answered("n2", tt.said)
			if got := r.Leader(); got != tt.want {
				t.Errorf("answer %d: it would ask %q, want %q", i, got, tt.want)
			}
		}
		time.Sleep(repeated)
		r.Answered("n2", Report{Unreachable: time.Minute, Leads: true})
		time.Sleep(fresh)
		if got := r.Leader(); got != "n2" {
			t.Errorf("just before a round was missed it would ask %q", got)
		}
		time.Sleep(time.Nanosecond)
		if got := r.Leader(); got != "" {
			t.Errorf("after a missed round it would ask %q", got)
		}
	})
}
