package view

import (
	"log/slog"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// update takes what a watch received.
func (v *View) update(w *watch, u client.ServicesUpdate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !w.spoke || w.anew || u.Reset || u.Cluster != w.cluster {
		w.begin(u.Cluster, len(v.names))
	}
	about := w.take(u, v.slots)
	if !v.homeKnown {
		v.homeKnown, v.home = true, w.cluster
	}
	if w.cluster != v.home {
		if v.disputed() {
			v.attend()
		} else {
			v.move(w.cluster, "no watch hears the old one", false)
		}
		return
	}
	if u.Synced {
		v.known = max(v.known, u.Revision)
	}
	now, changed := time.Now(), false
	for _, s := range about {
		changed = v.judge(w, s, now) || changed
	}
	if u.Synced && w.revision == v.known {
		for i := range w.behind {
			changed = v.judge(w, v.ordered[i], now) || changed
		}
	}
	v.tell(w, changed)
}

// judge lets what a watch of the home cluster said of a name count, and reports whether its opinion changed. v.mu is
// held.
func (v *View) judge(w *watch, s *slot, now time.Time) bool {
	said, ok := w.of(s.index)
	if !ok {
		return false
	}
	if said.revision < max(s.judged, v.known) {
		w.behind[s.index] = struct{}{}
		return false
	}
	s.judged = said.revision
	last := s.opinion.Load()
	next := last.judge(said.record, v.home, said.revision, now)
	if next.Record != nil && next.Cluster == v.home && sameRecord(next.Record, said.record) {
		w.said[s.index].record = next.Record
	}
	if next.Held && said.record != nil {
		if end := next.Record.GetOverride().GetExpireTime(); end != nil {
			v.due(end.AsTime())
		}
	}
	changed := !next.same(*last)
	if changed || next.Revision != last.Revision {
		s.opinion.Store(&next)
	}
	for _, other := range v.watches {
		if other.speaksOf(v.home) {
			if known, ok := other.of(s.index); ok && known.revision >= s.judged {
				delete(other.behind, s.index)
			} else {
				other.behind[s.index] = struct{}{}
			}
		}
	}
	return changed
}

// tell tells those who wait that opinions have changed, if they have, and that all were heard, if w knows all. v.mu is
// held.
func (v *View) tell(w *watch, changed bool) {
	if changed {
		next := make(chan struct{})
		close(*v.changed.Swap(&next))
	}
	if w.synced && !v.spoken {
		v.spoken = true
		close(v.ready)
	}
}

// move makes another cluster, which a watch hears, the home of the View. changed says whether opinions have changed
// before. v.mu is held.
func (v *View) move(to, why string, changed bool) {
	v.logger.Warn("the registry is another cluster; what the old one had switched off stays off until the new one speaks of it",
		slog.String("cluster", to), slog.String("before", v.home), slog.String("why", why))
	v.home = to
	v.known = 0
	now := time.Now()
	for _, s := range v.ordered {
		s.judged = 0
		var newest *watch
		for _, w := range v.watches {
			if w.speaksOf(to) && (newest == nil || w.newer(newest, s.index)) {
				newest = w
			}
		}
		changed = v.judge(newest, s, now) || changed
	}
	for _, w := range v.watches {
		if w.speaksOf(to) {
			if w.synced {
				v.known = max(v.known, w.revision)
			}
			v.tell(w, changed)
			changed = false
		}
	}
}

// forget drops the opinions of a cluster that the View took for its registry by mistake. It reports whether there were
// any. v.mu is held.
func (v *View) forget(cluster string) (changed bool) {
	for _, s := range v.ordered {
		if o := s.opinion.Load(); o.Heard && o.Cluster == cluster {
			s.opinion.Store(&Opinion{})
			changed = true
		}
	}
	return changed
}
