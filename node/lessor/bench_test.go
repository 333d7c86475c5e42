package lessor

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// leading returns a Lessor that leads, of so many leases, and a function by which its time passes.
func leading(b *testing.B, leases int) (l *Lessor, pass func(time.Duration)) {
	c := &cluster{leases: map[string]*logv1.Lease{}}
	for i := range leases {
		c.leases[id(i)] = &logv1.Lease{Ttl: int64(10 * time.Second)}
	}
	now := time.Now()
	l = New(Config{
		Fold:       c,
		Leadership: func() (uint64, <-chan struct{}) { return 1, nil },
		Round:      func(context.Context) error { return nil },
		Clock:      func() int64 { return now.UnixNano() },
		Now:        func() time.Time { return now },
		Guard:      Guard{Min: 10, Percent: 50, Max: time.Hour},
		Logger:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	b.ReportAllocs()
	return l, func(d time.Duration) {
		now = now.Add(d)
		l.count()
	}
}

// BenchmarkRenewTenThousand is one message of a node that gathers for ten thousand reporters.
func BenchmarkRenewTenThousand(b *testing.B) {
	l, pass := leading(b, 10_000)
	ids := idsUpTo(10_000)
	for b.Loop() {
		pass(tickEvery)
		if lost, _, err := l.Renew(context.Background(), ids); err != nil || len(lost) > 0 {
			b.Fatal(len(lost), err)
		}
	}
}

// BenchmarkTickHundredThousand is a tick of a leader of 100,000 leases of 10 s, each renewed every 2.5 s.
func BenchmarkTickHundredThousand(b *testing.B) {
	const leases, part = 100_000, 100_000 / 25
	l, pass := leading(b, leases)
	ids := idsUpTo(leases)
	next := 0
	renew := func() {
		if _, _, err := l.Renew(context.Background(), ids[next:next+part]); err != nil {
			b.Fatal(err)
		}
		next = (next + part) % leases
	}
	for range 200 {
		renew()
		pass(tickEvery)
	}
	for b.Loop() {
		b.StopTimer()
		renew()
		b.StartTimer()
		pass(tickEvery)
	}
	if s := l.Stats(); s.Live != leases || s.Late != 0 {
		b.Fatalf("%+v", s)
	}
}

// BenchmarkTakeOver is the first look of a new leader at 100,000 leases.
func BenchmarkTakeOver(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l, _ := leading(b, 100_000)
		b.StartTimer()
		l.count()
	}
}
