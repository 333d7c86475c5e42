package view

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// This file decides which cluster counts while the watches hear different ones: endpoints may be restored one after
// another, or one of them may belong to another cluster by mistake.

const (
	// silentHome is for how long no watch hears the home cluster, when another cluster that is heard takes its place.
	silentHome = 10 * time.Second
	// Endpoints are asked for their cluster at once, and then less and less often.
	censusFirst = time.Second
	censusMax   = 15 * time.Second
	censusCall  = 2 * time.Second // is waited for one endpoint
)

// disputed reports whether watches hear different clusters, the home among them. v.mu is held.
func (v *View) disputed() bool {
	home, other := false, false
	for _, w := range v.watches {
		if w.spoke {
			home = home || w.cluster == v.home
			other = other || w.cluster != v.home
		}
	}
	return home && other
}

// attend has settle look at once.
func (v *View) attend() {
	select {
	case v.attention <- struct{}{}:
	default: // it has yet to look
	}
}

// due has settle look at a time. v.mu is held.
func (v *View) due(at time.Time) {
	if v.dueAt.IsZero() || at.Before(v.dueAt) {
		v.dueAt = at
		v.attend()
	}
}

// settle does what time brings: the end of what is held, and the choice of a cluster while watches disagree.
func (v *View) settle(ctx context.Context) {
	var (
		asked time.Time     // when endpoints were last asked; zero: nothing is disputed
		pause time.Duration // until they are asked again
	)
	for {
		wait, disputed := v.review()
		switch {
		case !disputed:
			asked = time.Time{}
		case asked.IsZero() || time.Since(asked) >= pause:
			if asked.IsZero() {
				pause = censusFirst
			} else {
				pause = min(2*pause, censusMax)
			}
			pause -= rand.N(pause / 4)
			v.decide(v.census(ctx))
			asked = time.Now()
		}
		timer := time.NewTimer(wait)
		select {
		case <-v.attention:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// review does what is due. It returns when something will be, at the latest, and whether watches disagree.
func (v *View) review() (wait time.Duration, disputed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	wait = time.Hour
	if !v.dueAt.IsZero() {
		if !now.Before(v.dueAt) {
			v.dueAt = time.Time{}
			for _, w := range v.watches {
				if w.speaksOf(v.home) {
					v.reconsider(w, now)
				}
			}
		}
		if !v.dueAt.IsZero() {
			wait = min(wait, v.dueAt.Sub(now))
		}
	}
	wait = min(wait, v.journal.silence(v.logger, v.hearing > 0, now.Sub(v.silent)))
	if !v.disputed() {
		v.journal.disputed = false
		return wait, false
	}
	var other *watch // that is heard
	for _, w := range v.watches {
		switch {
		case w.speaksOf(v.home) && w.hears:
			v.homeHeard = now
		case w.spoke && w.cluster != v.home && w.hears:
			other = w
		}
	}
	if !v.journal.disputed {
		v.journal.disputed, v.homeHeard = true, now
		v.logger.Warn("endpoints of the registry belong to different clusters: it is being restored, or one of them is wrong",
			slog.String("cluster", v.home), slog.Any("endpoints", v.client.Endpoints()))
	}
	if other != nil && now.Sub(v.homeHeard) >= silentHome {
		v.move(other.cluster, "the old one is heard no more", false)
	}
	return min(wait, time.Second), true
}

// reconsider judges anew the names whose opinion is held. v.mu is held.
func (v *View) reconsider(w *watch, now time.Time) {
	changed := false
	for _, s := range v.ordered {
		if s.opinion.Load().Held {
			changed = v.judge(w, s, now) || changed
		}
	}
	v.tell(w, changed)
}

// census asks each endpoint for its cluster, and returns how many belong to each.
func (v *View) census(ctx context.Context) map[string]int {
	ctx, cancel := context.WithTimeout(ctx, censusCall)
	defer cancel()
	var (
		mu    sync.Mutex
		count = map[string]int{}
		calls sync.WaitGroup
	)
	for _, endpoint := range v.client.Endpoints() {
		calls.Go(func() {
			var page client.ListPage
			for _, err := range v.client.List(client.WithEndpoints(ctx, endpoint), client.ListOptions{Prefix: v.names[0], PageSize: 1, Page: &page}) {
				if err != nil {
					return
				}
				break
			}
			mu.Lock()
			defer mu.Unlock()
			count[page.Cluster]++
		})
	}
	calls.Wait()
	return count
}

// decide makes the cluster the home that more than half of all endpoints belong to, if a watch hears it.
func (v *View) decide(count map[string]int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, w := range v.watches {
		if !w.spoke || w.cluster == v.home || 2*count[w.cluster] <= len(v.client.Endpoints()) {
			continue
		}
		// A watch that never heard the home cluster says that this was none of the registry's: then it was heard first by
		// chance, and what it switched off is not to be held.
		forgot := !w.belonged[v.home] && v.forget(v.home)
		v.move(w.cluster, "most endpoints belong to it", forgot)
		return
	}
}
