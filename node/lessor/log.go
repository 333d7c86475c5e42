package lessor

import (
	"strings"
	"time"
)

const (
	// logEvery is how often a line tells of leases that expired, and how often a failure is logged.
	logEvery = 10 * time.Second
	// logged is how many leases a line names.
	logged = 5
)

// bulkLog gathers what one line tells of leases that expired. There may be very many.
type bulkLog struct {
	last  time.Time // zero: no line yet
	n     int
	first []string
}

func (b *bulkLog) expired(id string) {
	if b.n++; len(b.first) < logged {
		b.first = append(b.first, id)
	}
}

// take returns how many leases to tell of now, and the ids of some.
func (b *bulkLog) take(now time.Time) (n int, some string) {
	if b.n == 0 || !b.last.IsZero() && now.Sub(b.last) < logEvery {
		return 0, ""
	}
	n, some = b.n, strings.Join(b.first, " ")
	*b = bulkLog{last: now}
	return n, some
}

// warn logs a failure, unless the leadership is over: what is left then is the next leader's to do.
func (l *Lessor) warn(t *table, what string, err error) {
	if term, _ := l.cfg.Leadership(); term != t.term {
		return
	}
	if now := l.cfg.Now(); l.warned.IsZero() || now.Sub(l.warned) >= logEvery {
		l.warned = now
		l.cfg.Logger.Warn(what, "error", err)
	}
}
