package resolver

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// source opens a watch of all services whose names begin with prefix, at some endpoints only. connected is called
// when the watch begins to hear a node, and when it hears it no more.
type source func(ctx context.Context, endpoints []string, prefix string, connected func(bool)) iter.Seq2[client.ServicesUpdate, error]

// half is one of the two watches. Its fields belong to its goroutine.
type half struct {
	index     int
	service   string
	endpoints []string // in the order in which they are tried
	source    source
	events    chan<- event

	cluster   string
	instances map[string]instance // by address
}

// event is what a half tells. One of the fields but the first is set.
type event struct {
	half      int
	seen      *observation
	connected *bool
	err       error // the watch ended; another one follows, unless the client is closed
}

// run watches until ctx ends or the client is closed.
func (h *half) run(ctx context.Context) {
	began := time.Now()
	for {
		opened := time.Now()
		err := h.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		h.send(ctx, event{err: err})
		if errors.Is(err, client.ErrClosed) {
			return
		}
		h.passOver(err)
		if time.Since(opened) > stableAfter {
			began = time.Now()
		}
		pause(ctx, time.Since(began), client.IsDenied(err) || client.IsUnauthenticated(err))
	}
}

// passOver has the next watch begin after the endpoint that refused this one, because another one may not refuse.
func (h *half) passOver(err error) {
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Reason == client.ReasonNoEndpoint {
		return
	}
	if i := slices.Index(h.endpoints, e.Endpoint); i >= 0 {
		h.endpoints = slices.Concat(h.endpoints[i+1:], h.endpoints[:i+1])
	}
}

const (
	stableAfter = 5 * time.Second
	firstPause  = 50 * time.Millisecond
	shortPause  = time.Second
	longPause   = 5 * time.Second
	refusedMax  = 30 * time.Second
	longAfter   = time.Minute
)

// pause waits before a watch is opened again, after failing for a time: 50 ms at first, 1 s at most, after a minute
// 5 s at most; 30 s at most if the caller is refused, which a person must mend; with full jitter, because all clients of a
// registry lose it together.
func pause(ctx context.Context, failing time.Duration, refused bool) {
	most := min(max(failing, firstPause), shortPause)
	switch {
	case refused:
		most = min(max(failing, firstPause), refusedMax)
	case failing > longAfter:
		most = longPause
	}
	t := time.NewTimer(rand.N(most))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watch follows one watch to its end.
func (h *half) watch(ctx context.Context) error {
	h.instances = map[string]instance{}
	prefix := h.service + "/"
	connected := func(is bool) { h.send(ctx, event{connected: &is}) }
	for u, err := range h.source(ctx, h.endpoints, prefix, connected) {
		if err != nil {
			return err
		}
		if u.Reset {
			h.instances = map[string]instance{}
		}
		for _, r := range u.Services {
			i := newInstance(h.service, r)
			h.instances[i.address] = i
		}
		for _, name := range u.Deleted {
			delete(h.instances, strings.TrimPrefix(name, prefix))
		}
		h.cluster = u.Cluster
		if !u.Synced {
			continue // more follows soon; until then the last observation is the last that is whole
		}
		h.send(ctx, event{seen: &observation{cluster: h.cluster, revision: u.Revision, instances: maps.Clone(h.instances)}})
	}
	return ctx.Err()
}

func (h *half) send(ctx context.Context, e event) {
	e.half = h.index
	select {
	case h.events <- e:
	case <-ctx.Done():
	}
}
