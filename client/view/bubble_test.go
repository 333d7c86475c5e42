package view

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/rollcallhq/rollcall/client"
)

func synctestWait() { synctest.Wait() }

func synctestRun(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// startView runs a View until the test ends.
func startView(t *testing.T, r *fakeRegistry, names []string, opts ...Option) *running {
	t.Helper()
	c, err := client.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	var kept logs
	v, err := New(c, names, append(opts, WithLogger(slog.New(&kept)))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		c.Close()
	})
	return &running{View: v, t: t, r: r, logs: &kept}
}

func (r *fakeRegistry) calls() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, node := range r.nodes {
		n += node.calls
	}
	return n
}
