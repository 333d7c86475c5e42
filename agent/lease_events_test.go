package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestALongOutageDoesNotFillTheLog: a lease tries every two seconds, and that it fails is told now and then.
func TestALongOutageDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := newAgent(file(), newFakeRegistry().registry(), slog.New(slog.NewTextHandler(&log, nil)))
		defer a.end()
		take := a.leaseEvents()
		count := func(what string, want int) {
			t.Helper()
			if got := strings.Count(log.String(), what); got != want {
				t.Errorf("%q stands %d times in the log, want %d:\n%s", what, got, want, &log)
			}
			log.Reset()
		}
		hour := func() {
			for range 1800 {
				take(client.LeaseEvent{Type: client.LeaseFailed, Err: errors.New("no endpoint answers")})
				time.Sleep(2 * time.Second)
			}
		}
		hour()
		if strings.Contains(log.String(), "service=") {
			t.Error("a service is named, and none is to blame")
		}
		count("reporting failed", 6)
		take(client.LeaseEvent{Type: client.LeaseReported, LeaseID: "7"})
		count("written again", 1)
		take(client.LeaseEvent{Type: client.LeaseReported, LeaseID: "7"})
		count("written again", 0)
		take(client.LeaseEvent{Type: client.LeaseFailed, Err: errors.New("no endpoint answers")})
		count("reporting failed", 1) // it is another outage
		for i := range 10_000 {
			take(client.LeaseEvent{Type: client.LeaseFailed, Service: fmt.Sprint("s", i), Err: errors.New("a rule")})
		}
		count("reporting failed", maxFailures-1)
		take(client.LeaseEvent{Type: client.LeaseBecameOverdue, LeaseID: "7"})
		take(client.LeaseEvent{Type: client.LeaseWasLost, LeaseID: "7"})
		count("nil", 0)
	})
}
