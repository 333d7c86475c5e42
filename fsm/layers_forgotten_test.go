package fsm

import (
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/follow"
)

// TestAnEndedOverrideIsForgottenWithItsEvents: since when a status is shown again after an override is known until the
// horizon passes the override's end. Then it is the report's time, which is earlier, now and as of any revision that can
// still be read. That is no event: a client whose stream stays open, or goes on, keeps the time that it was sent, which
// is the true one; a client that begins anew gets the earlier one.
func TestAnEndedOverrideIsForgottenWithItsEvents(t *testing.T) {
	h := newHarness(t)
	reported, ended := int64(1), int64(3)
	h.do(t, reported, write(change("a", serving)))
	h.do(t, 2, because(overFor("a", notServing, 0), "night"))
	h.do(t, ended, clearing(&logv1.ClearOverride{Pattern: "a"}))
	h.do(t, 4, write(change("b", serving)))

	next := func(s *follow.Scan) *rollcallv1.WatchServicesResponse {
		t.Helper()
		m, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	since := func(what string, r *rollcallv1.ServiceRecord, want int64) {
		t.Helper()
		if got := r.GetStatusTime().AsTime().UnixNano(); r.GetService() != "a" || got != want {
			t.Errorf("%s: %v, want it to be since %d", what, r, want)
		}
	}
	node := func(what string, want int64) {
		t.Helper()
		r, _ := h.GetService("a")
		since(what, r, want)
		r, err := h.GetServiceAt(t.Context(), "a", h.Revision())
		if err != nil {
			t.Fatal(err)
		}
		since(what+", as of its revision", r, want)
	}
	open := h.followers.Scan(nil, logv1.Following{})
	held := next(open)
	since("sent", held.GetServices()[0], ended)
	node("while the events are kept", ended)

	h.do(t, 5, compact(h.Revision()))
	node("when they are not", reported)
	if m := next(open); len(m.GetServices()) > 0 || m.GetRevision() != held.GetRevision() {
		t.Errorf("a stream that stays open: %v", m)
	}
	if m := next(h.followers.Scan(nil, logv1.Following{Resume: held.GetRevision()})); !m.GetResumed() || len(m.GetServices()) > 0 {
		t.Errorf("a stream that goes on: %v", m)
	}
	since("a stream that begins anew", next(h.followers.Scan(nil, logv1.Following{})).GetServices()[0], reported)
}
