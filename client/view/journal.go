package view

import (
	"errors"
	"log/slog"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// silentLog is for how long no node is heard, when that is logged.
const silentLog = 5 * time.Second

// journal keeps what was logged, so that what goes on for long is logged once. View.mu guards it.
type journal struct {
	disputed bool // that watches disagree
	silent   bool // that no node is heard
	failures map[string]*failure
}

// failure is what an endpoint, or all that a watch tried, answers again and again.
type failure struct {
	what  string
	count int
}

// silence logs that no node is heard, and that one is again. It returns after what time to ask again, at the latest.
func (j *journal) silence(logger *slog.Logger, heard bool, silent time.Duration) time.Duration {
	switch {
	case heard && j.silent:
		j.silent = false
		logger.Info("the registry is heard again")
	case heard || j.silent:
	case silent < silentLog:
		return silentLog - silent
	default:
		j.silent = true
		logger.Warn("no node of the registry is heard; what it said last stays", slog.Duration("for", silent))
	}
	return time.Hour
}

// fail keeps, and logs if it is new, that a watch ended or could not be opened; it begins anew. endpoint is the one that refused it; "": none
// could be reached.
func (v *View) fail(w *watch, endpoint string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.anew, v.err = true, err
	if endpoint == "" {
		endpoint = w.endpoints[0]
	}
	what := err.Error()
	if e, ok := errors.AsType[*client.Error](err); ok {
		what = e.Code.String() + e.Reason
	}
	f := v.journal.failures[endpoint]
	if f == nil {
		f = &failure{}
		if v.journal.failures == nil {
			v.journal.failures = map[string]*failure{}
		}
		v.journal.failures[endpoint] = f
	}
	f.count++
	if f.what != what {
		f.what = what
		v.logger.Warn("the registry cannot be followed at these endpoints; it is tried for ever", slog.Any("endpoints", w.endpoints), slog.Any("error", err))
	}
}

// hear notes that a watch begins to hear a node, or hears it no more.
func (v *View) hear(w *watch, s client.WatchState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.hears = s.Connected
	if !s.Connected {
		v.hearing--
		v.silent = time.Now()
		v.attend()
		return
	}
	v.err = nil
	if v.hearing++; v.journal.silent {
		v.attend()
	}
	for _, endpoint := range []string{s.Endpoint, w.endpoints[0]} {
		if f := v.journal.failures[endpoint]; f != nil {
			delete(v.journal.failures, endpoint)
			v.logger.Info("the registry can be followed again", slog.String("endpoint", s.Endpoint), slog.Int("failures", f.count))
		}
	}
}
