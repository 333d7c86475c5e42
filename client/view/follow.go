package view

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// A watch that could not be opened is opened again after a pause: soon if no node could be reached, and less and less
// often if nodes refuse it.
const (
	reachFirst   = 50 * time.Millisecond
	reachMax     = time.Second
	reachLateMax = 5 * time.Second // after reachPatience
	refusedFirst = time.Second
	refusedMax   = time.Minute

	reachPatience = time.Minute
)

// follow keeps a watch open until ctx ends.
func (v *View) follow(ctx context.Context, w *watch) {
	order := w.endpoints
	watched := client.WithWatchState(ctx, func(s client.WatchState) { v.hear(w, s) })
	var tries retries
	for ctx.Err() == nil {
		var err error
		for u, e := range v.client.WatchNames(client.WithEndpoints(watched, order...), v.names...) {
			if err = e; err != nil {
				break
			}
			tries = retries{}
			v.update(w, u)
		}
		if ctx.Err() != nil {
			return
		}
		at, refused := refusal(err)
		v.fail(w, at, err) // and the next one begins anew
		if i := slices.Index(order, at); refused && i >= 0 {
			// Another endpoint may not refuse: the next try begins after the one that did.
			order = slices.Concat(order[i+1:], order[:i+1])
		}
		timer := time.NewTimer(tries.pause(refused))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refusal returns the endpoint that refused a watch, and whether one did, as opposed to none that could be reached.
func refusal(err error) (endpoint string, refused bool) {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return "", true
	}
	return e.Endpoint, e.Reason != client.ReasonNoEndpoint
}

// retries are the tries of a watch since it last heard a node.
type retries struct {
	unreached, refused int
	since              time.Time // the first
}

// pause returns the pause before the next try.
func (t *retries) pause(refused bool) time.Duration {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	if refused {
		longest := min(refusedFirst<<min(t.refused, 10), refusedMax)
		t.refused++
		return longest/2 + rand.N(longest/2)
	}
	longest := reachMax
	if time.Since(t.since) >= reachPatience {
		longest = reachLateMax
	}
	longest = min(reachFirst<<min(t.unreached, 10), longest)
	t.unreached++
	return longest/2 + rand.N(longest/2)
}
