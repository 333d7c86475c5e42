package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
)

// verdict says which of the node's own names are SERVING, and why the others are not.
type verdict struct {
	reads  bool // rollcall.reads
	ready  bool // ""
	leader bool // rollcall.leader

	readsWhy string // why reads is false; "" if it is true
	heardWhy string // why no leader counts as confirmed; "" if one does

	// again is after how long the verdict may change by the passing of time alone; 0: never.
	again time.Duration
}

// evaluate decides the statuses of the node's own names. The node shows every write that was acknowledged
// before freshAt (see package freshness). "" is SERVING while that is at most maxStaleness ago; with
// maxStaleness 0 it does not matter.
func evaluate(st NodeStatus, freshAt time.Time, draining bool, now time.Time, maxStaleness time.Duration) verdict {
	var v verdict
	switch {
	case st.Failed != "":
		v.readsWhy = st.Failed
	case draining:
		v.readsWhy = "stopping"
	case !st.Loaded:
		v.readsWhy = "the registry is not loaded yet"
	case !st.Formed:
		v.readsWhy = st.Waiting
		if v.readsWhy == "" {
			v.readsWhy = "no cluster is formed yet"
		}
	}
	v.reads = v.readsWhy == ""
	v.leader = v.reads && st.Leading

	if maxStaleness > 0 {
		switch age := now.Sub(freshAt); {
		case freshAt.IsZero():
			v.heardWhy = "none confirmed since the start"
		case age > maxStaleness:
			v.heardWhy = "none confirmed for " + inSeconds(age)
		default:
			v.again = maxStaleness - age + time.Nanosecond
		}
	}
	v.ready = v.reads && v.heardWhy == ""
	return v
}

// readiness publishes the node's own names whenever they change.
type readiness struct {
	node         Node
	agreement    Agreement
	statuses     Statuses
	freshness    *freshness.Tracker
	maxStaleness time.Duration
	drains       func() bool
	refreshed    chan struct{} // capacity 1: run must compute again when the verdict may change by time

	mu        sync.Mutex // guards published, and keeps publishing in the order of evaluation
	published map[string]Status
}

// verdict evaluates the node as it is now.
func (r *readiness) verdict() verdict {
	return evaluate(r.node.NodeStatus(), r.freshness.At(), r.drains(), time.Now(), r.maxStaleness)
}

// publish brings the node's own names up to date before it returns.
func (r *readiness) publish() verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.verdict()
	for _, own := range []struct {
		name    string
		serving bool
	}{
		{rollcallv1.OwnLive, true},
		{rollcallv1.OwnReads, v.reads},
		{rollcallv1.OwnReady, v.ready},
		{rollcallv1.OwnLeader, v.leader},
	} {
		s := healthpb.HealthCheckResponse_NOT_SERVING
		if own.serving {
			s = healthpb.HealthCheckResponse_SERVING
		}
		if was, ok := r.published[own.name]; ok && was == s {
			continue
		}
		if r.published == nil {
			r.published = make(map[string]Status, 4)
		}
		r.published[own.name] = s
		r.statuses.SetOwn(own.name, s)
	}
	return v
}

// refresh publishes. It is for a change that run does not hear of: neither Agreement.Changed nor the passing
// of time tells it.
func (r *readiness) refresh() {
	r.publish()
	select {
	case r.refreshed <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends: at every change of the node, and when time alone may change the
// verdict.
func (r *readiness) run(ctx context.Context) {
	for {
		changed := r.agreement.Changed() // before evaluating, so that no change is missed
		v := r.publish()
		var again <-chan time.Time
		if v.again > 0 {
			again = time.After(v.again)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		case <-r.refreshed:
		}
	}
}

func inSeconds(d time.Duration) string {
	return fmt.Sprint(d.Truncate(time.Second))
}
