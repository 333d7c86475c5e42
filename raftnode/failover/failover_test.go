package failover

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTurn(t *testing.T) {
	own := voter{name: "n2", term: 7, logTerm: 7, logIndex: 100}
	other := func(name string, change func(*voter)) voter {
		v := voter{name: name, term: 7, logTerm: 7, logIndex: 100, lost: true}
		if change != nil {
			change(&v)
		}
		return v
	}
	never := -1
	for _, test := range []struct {
		name   string
		others []voter
		voters int
		want   int
	}{
		{"the other one agrees", []voter{other("n3", nil)}, 3, 0},
		{"of two equals the lower name goes first", []voter{other("n1", nil)}, 3, 1},
		{"the further log goes first", []voter{other("n3", func(v *voter) { v.logIndex++ })}, 3, 1},
		{"the later term goes before the longer log", []voter{other("n3", func(v *voter) { v.logTerm++; v.logIndex = 1 })}, 3, 1},
		{"a shorter log goes after", []voter{other("n1", func(v *voter) { v.logIndex-- })}, 3, 0},
		{"the other one still has the leader", []voter{other("n3", func(v *voter) { v.lost = false })}, 3, never},
		{"nobody answers", nil, 3, never},
		{"one of two voters is no quorum", nil, 2, never},
		{"somebody knows a later term", []voter{other("n3", func(v *voter) { v.term++ }), other("n4", nil), other("n5", nil)}, 5, never},
		{"somebody stands already", []voter{other("n3", func(v *voter) { v.standing = true })}, 3, never},
		{"somebody stood long ago", []voter{other("n3", nil), other("n4", func(v *voter) { v.term, v.standing, v.lost = 3, true, false }), other("n5", nil)}, 5, 0},
		{"two of five are no quorum", []voter{other("n3", nil), other("n4", func(v *voter) { v.lost = false })}, 5, never},
		{"three of five are one", []voter{other("n3", nil), other("n4", nil)}, 5, 0},
		{"only who has lost the leader goes first", []voter{other("n1", func(v *voter) { v.lost = false }), other("n3", nil), other("n4", nil)}, 5, 0},
		{"two go first", []voter{other("n1", nil), other("n3", func(v *voter) { v.logIndex++ })}, 5, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := turn(own, test.others, test.voters)
			if !ok || begun(own, test.others) {
				got = never
			}
			if got != test.want {
				t.Errorf("turn %d, want %d", got, test.want)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	var q quiet
	looks := func(n int, following bool, contact time.Time) (silent bool) {
		for range n {
			silent = q.look(following, contact)
		}
		return silent
	}
	for i, step := range []struct {
		looks     int
		following bool
		contact   time.Time
		want      bool
	}{
		{100, true, time.Time{}, false},       // never heard: the start
		{silentLooks, true, at(0), false},     // the first look only learns when it was heard
		{1, true, at(0), true},                // a second of looks
		{1, true, at(0), true},                // still
		{1, true, at(1), false},               // heard
		{silentLooks - 1, true, at(1), false}, // not yet
		{1, false, at(1), false},              // no follower any more
		{silentLooks - 1, true, at(1), false}, // counted anew
		{1, true, at(1), true},
		{1, true, at(0), false}, // the clock went back
	} {
		if got := looks(step.looks, step.following, step.contact); got != step.want {
			t.Errorf("step %d: %t, want %t", i, got, step.want)
		}
	}
}
