package node

import (
	"strings"
	"testing"
	"time"
)

func TestHistoryLimitsAreValidated(t *testing.T) {
	for _, tt := range []struct {
		events int
		age    time.Duration
		want   string // "": valid
	}{
		{1, 0, ""},
		{1_000_000, 720 * time.Hour, ""},
		{1, time.Second, ""},
		{0, 0, "history-events is 0; it must be at least 1"},
		{-3, 0, "history-events is -3"},
		{1, -time.Hour, "history-age is -1h0m0s; it must be 0, for no limit, or at least 1s"},
		{1, 720, "history-age is 720ns"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.HistoryEvents, cfg.HistoryAge = tt.events, tt.age
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d, %v: %v, want %q", tt.events, tt.age, err, tt.want)
		}
	}
}

func TestTheLeaseGuardIsValidated(t *testing.T) {
	for _, tt := range []struct {
		least, percent int
		longest        time.Duration
		want           string // "": valid
	}{
		{10, 50, time.Hour, ""},
		{1, 100, time.Second, ""},
		{0, 50, time.Hour, "--lease-guard-min is 0; it must be at least 1"},
		{10, 0, time.Hour, "--lease-guard-percent is 0; it must be 1 to 100"},
		{10, 101, time.Hour, "--lease-guard-percent is 101"},
		{10, 50, 60, "--lease-guard-max is 60ns; it must be at least 1s"},
		{10, 50, -time.Hour, "--lease-guard-max is -1h0m0s"},
	} {
		cfg := DefaultConfig()
		cfg.Name, cfg.DataDir = "n1", "data"
		cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
		cfg.LeaseGuardMin, cfg.LeaseGuardPercent, cfg.LeaseGuardMax = tt.least, tt.percent, tt.longest
		err := cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d, %d, %v: %v, want %q", tt.least, tt.percent, tt.longest, err, tt.want)
		}
	}
}
