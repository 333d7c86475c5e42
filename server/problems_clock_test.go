package server

import (
	"slices"
	"testing"
	"time"
)

func TestClockProblems(t *testing.T) {
	clock := func(member string, ahead time.Duration) ClockOffset {
		return ClockOffset{Member: member, Ahead: ahead, Off: ahead.Abs() > 500*time.Millisecond}
	}
	for name, tt := range map[string]struct {
		clocks []ClockOffset
		want   []string
	}{
		"none measured": {nil, nil},
		"all right":     {[]ClockOffset{clock("n1", 3*time.Millisecond), clock("n2", -400*time.Millisecond)}, nil},
		"two are off": {[]ClockOffset{clock("n1", 61*24*time.Hour), clock("n2", 0), clock("n3", -1234*time.Millisecond)},
			[]string{"n1: its clock is 61 days ahead: check its time service", "n3: its clock is 1.23s behind: check its time service"}},
		"all are ahead": {[]ClockOffset{clock("n1", time.Hour), clock("n2", time.Hour)},
			[]string{"n1: its clock is 1h0m0s ahead: check its time service", "n2: its clock is 1h0m0s ahead: check its time service"}},
		"all are behind": {[]ClockOffset{clock("n1", -time.Hour), clock("n2", -time.Minute)},
			[]string{"the clocks of all members are behind the log's time, by 1m0s and more: it runs at half speed until they meet"}},
		"the only one": {[]ClockOffset{clock("n1", -time.Hour)}, []string{"n1: its clock is 1h0m0s behind: check its time service"}},
	} {
		if got := clockProblems(tt.clocks); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
