package client

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestWhoGaveUpIsForgotten: a program that reports again and again while the cluster is away uses no more memory.
func TestWhoGaveUpIsForgotten(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Endpoints = []string{"127.0.0.1:1"}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := c.KeepLease(LeaseOptions{TTL: time.Second}, KeepOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		if err := l.Report(gone, "a", []Status{Serving, NotServing}[i%2], ""); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	l.mu.Lock()
	if s := l.services["a"]; len(l.services) != 1 || len(l.dirty) != 1 || len(s.waits) != 0 || s.report.Status != NotServing {
		t.Errorf("%d services, %d to be written, %d wait", len(l.services), len(l.dirty), len(s.waits))
	}
	l.mu.Unlock()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
