package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	const perSecond = 10
	start := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	for name, steps := range map[string][]struct {
		at   time.Duration
		n    int
		wait time.Duration // 0: it may
	}{
		"a second's worth at once": {{0, 10, 0}, {0, 1, 100 * time.Millisecond}, {50 * time.Millisecond, 1, 50 * time.Millisecond}, {100 * time.Millisecond, 1, 0}},
		"a refusal costs nothing":  {{0, 8, 0}, {0, 3, 100 * time.Millisecond}, {0, 3, 100 * time.Millisecond}, {0, 2, 0}},
		"a pause saves a second":   {{0, 10, 0}, {time.Hour, 10, 0}, {time.Hour, 1, 100 * time.Millisecond}},
		"a large batch is owed":    {{0, 35, 0}, {0, 1, 2600 * time.Millisecond}, {2500 * time.Millisecond, 1, 100 * time.Millisecond}, {2600 * time.Millisecond, 1, 0}},
		"and needs a full second":  {{0, 1, 0}, {0, 35, 100 * time.Millisecond}, {100 * time.Millisecond, 35, 0}},
		"a clock that steps back":  {{time.Second, 10, 0}, {0, 1, 100 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			l := New(perSecond)
			for i, s := range steps {
				wait, ok := l.Take("k", s.n, start.Add(s.at))
				if ok != (s.wait == 0) || wait.Round(time.Microsecond) != s.wait {
					t.Errorf("step %d: %d at %v: %v, wait %v; want %v", i, s.n, s.at, ok, wait, s.wait)
				}
			}
		})
	}
}

func TestKeysDoNotShare(t *testing.T) {
	l, now := New(1), time.Now()
	for _, key := range []string{"a", "b"} {
		if _, ok := l.Take(key, 1, now); !ok {
			t.Errorf("%s may not", key)
		}
	}
	if _, ok := l.Take("a", 1, now); ok || l.Refused() != 1 {
		t.Errorf("a may again: %v, %d refused", ok, l.Refused())
	}
}

// TestKeysAreBounded: the one that was heard of last is remembered.
func TestKeysAreBounded(t *testing.T) {
	l, now := New(1), time.Now()
	for i := range 3 * maxKeys {
		l.Take("kept", 1, now)
		l.Take(fmt.Sprint("stranger", i), 1, now)
	}
	if len(l.keys) != maxKeys || l.recent.Len() != maxKeys {
		t.Errorf("%d keys, %d in order", len(l.keys), l.recent.Len())
	}
	if _, ok := l.Take("kept", 1, now); ok {
		t.Error("a key that is always heard of was forgotten")
	}
}

func TestAddressKey(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.7:4711":          "10.0.0.7",
		"[::ffff:10.0.0.7]:4711": "10.0.0.7",
		"[2001:db8:1:2:3::4]:1":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:9::9]:2":  "2001:db8:1:2::/64",
		"[fe80::1%eth0]:7":       "fe80::/64",
		"[::1]:7600":             "::1",
		"bufconn":                "bufconn",
		"":                       "",
		"localhost:80":           "localhost",
	} {
		if got := AddressKey(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	l := New(1 << 30)
	b.ReportAllocs()
	for b.Loop() {
		l.Take("token:ci", 1, time.Now())
	}
}
