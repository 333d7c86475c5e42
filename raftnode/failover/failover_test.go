package failover

import (
	"testing"

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
