package checks

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

type heard struct {
	mu      sync.Mutex
	reasons []string
}

func (h *heard) SetServingStatus(string, client.Status) {}
func (h *heard) Report(_ string, s client.Status, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reasons = append(h.reasons, s.String()+" "+reason)
	return nil
}

func (h *heard) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.reasons) == 0 {
		return ""
	}
	return h.reasons[len(h.reasons)-1]
}

// TestReadyMadeChecksInARunner: results hold what was measured, reasons only names; what a TTL is fed shows at once.
func TestReadyMadeChecksInARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		r := NewRunner(To(h))
		worker := NewTTL("worker", 30*time.Second)
		for _, c := range []Check{worker, Goroutines("goroutines", 1), FileAge("backup", "/no/such/file", time.Hour)} {
			if err := r.Add("shop", c, Interval(time.Hour), Jitter(0)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []Check{HTTP("api", "ftp://x"), Command("cmd", nil), SQL("db", nil, "q"), NewTTL("ttl", 0), Heap("heap", 0)} {
			if err := r.Add("shop", c); err == nil {
				t.Errorf("the Runner takes %s with wrong arguments", c.Name())
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		// The first that fails makes the change; the others change nothing any more.
		names := strings.TrimPrefix(h.last(), "NOT_SERVING failing: ")
		for name := range strings.SplitSeq(names, ", ") {
			if name != "backup" && name != "goroutines" && name != "worker" {
				t.Errorf("the first reason is %q", h.last())
			}
		}
		if !r.Remove("shop", "backup") || !r.Remove("shop", "goroutines") {
			t.Error("a check cannot be removed")
		}
		worker.OK()
		synctest.Wait()
		if got := h.last(); got[:8] != "SERVING " {
			t.Errorf("after OK: %q", got)
		}
		worker.Fail(errors.New("17 orders are late"))
		synctest.Wait()
		if got := h.last(); got != "NOT_SERVING failing: worker" {
			t.Errorf("after Fail: %q", got)
		}
		if got := r.Results()[0].Error; got != "17 orders are late" {
			t.Errorf("the result says %q", got)
		}
		worker.OK()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := h.last(); got != "NOT_SERVING failing: worker" {
			t.Errorf("30 s after the last OK: %q", got)
		}
		cancel()
		<-done
	})
}
