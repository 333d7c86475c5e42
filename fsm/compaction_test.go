package fsm

import (
	"bytes"
	"context"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestCompactMovesTheHorizonForwardOnly(t *testing.T) {
	h := newHarness(t)
	if h.Horizon() != 1 {
		t.Errorf("a new registry has the horizon %d", h.Horizon())
	}
	for _, name := range []string{"a", "b", "c"} {
		h.set(t, name, serving)
	}
	for _, tt := range []struct {
		horizon, want int64
		refused       bool
	}{
		{1, 1, false}, // nothing to do
		{0, 1, true},
		{-5, 1, true},
		{5, 1, true}, // beyond the next revision
		{2, 2, false},
		{2, 2, false}, // twice
		{1, 2, false}, // late
		{4, 4, false}, // everything
		{5, 4, true},
	} {
		cmd := compact(tt.horizon)
		preview := h.Preview(cmd, 0).Proto()
		events := len(h.registryFile.events)
		r := h.do(t, 0, cmd)[0]
		if (r.Refusal != nil) != tt.refused || (preview.Refusal != nil) != tt.refused || r.Revision != 3 {
			t.Errorf("horizon %d: %v, previewed %v", tt.horizon, r, preview)
		}
		if tt.refused && (r.Refusal.Reason != logv1.Refusal_REASON_INVALID || r.Refusal.Field != "horizon") {
			t.Errorf("horizon %d: refusal %v", tt.horizon, r.Refusal)
		}
		if h.Horizon() != tt.want || h.registryFile.meta.Horizon != tt.want {
			t.Errorf("horizon %d: it is now %d, %d in the registry file; want %d", tt.horizon, h.Horizon(), h.registryFile.meta.Horizon, tt.want)
		}
		if len(h.registryFile.events) != events {
			t.Errorf("horizon %d made an event", tt.horizon)
		}
		if events, ok := h.RecentEvents(0, 10); !ok || len(events) != 3 {
			t.Errorf("horizon %d: the ring has %v, %v", tt.horizon, events, ok)
		}
	}
}

// A registry that was never compacted hashes as before; then the horizon counts, and a restart, a
// restore and both scrubs agree.
func TestP9HorizonIsHashed(t *testing.T) {
	h, never := newHarness(t), newHarness(t)
	for _, name := range []string{"a", "b", "c"} {
		h.set(t, name, serving)
		never.set(t, name, serving)
	}
	h.do(t, 0, compact(1))
	never.do(t, 0)
	if !bytes.Equal(h.StateHash().Hash, never.StateHash().Hash) {
		t.Error("a horizon of 1 changes the hash")
	}
	h.do(t, 0, compact(2), compact(3))
	never.do(t, 0)
	if bytes.Equal(h.StateHash().Hash, never.StateHash().Hash) {
		t.Error("a horizon of 3 does not change the hash")
	}
	again := harnessOn(t, h.registryFile)
	restored := newHarness(t)
	if err := restored.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*harness{"restarted": again, "restored": restored} {
		if other.Horizon() != 3 || !bytes.Equal(other.StateHash().Hash, h.StateHash().Hash) {
			t.Errorf("%s: horizon %d, hash %x", name, other.Horizon(), other.StateHash().Hash)
		}
		memory, err := other.ScrubMemory(context.Background(), 1)
		if err != nil || !memory.Agrees() {
			t.Errorf("%s: scrub of memory finds %+v, %v", name, memory, err)
		}
		scrub, compared, err := other.ScrubRegistryFile(context.Background(), 1)
		if err != nil || !compared || !scrub.Agrees() {
			t.Errorf("%s: scrub of the registry file finds %+v, %v, %v", name, scrub, compared, err)
		}
	}
	h.registryFile.meta.Horizon = 2
	if _, err := New(Config{RegistryFile: h.registryFile}); err == nil {
		t.Error("a registry file of another horizon is loaded")
	}
	h.registryFile.meta.Horizon, h.registryFile.meta.StateHash = 5, nil
	if _, err := New(Config{RegistryFile: h.registryFile}); err == nil {
		t.Error("a registry file with a horizon beyond its revision is loaded")
	}
}
