package view

import (
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// watch is one of the watches of a View, and what it said of each name. View.mu guards what changes.
type watch struct {
	endpoints []string // never changes

	hears    bool            // a node, now
	anew     bool            // it begins anew: the next update knows nothing of what was said before
	spoke    bool            // it has said something of cluster
	cluster  string          // that it said last it belongs to
	belonged map[string]bool // clusters that it ever said so of

	synced   bool  // revision counts
	revision int64 // that all it said is as of
	said     []saying
	// behind are the names of which another watch said something newer than this one.
	behind map[int]struct{}
}

// saying is what a watch said of one name.
type saying struct {
	known    bool
	record   *rollcallv1.ServiceRecord // nil: it does not exist
	revision int64                     // that it was said as of; it may hold for later ones: see watch.revision
}

// begin forgets what was said, because from now on the watch speaks of this cluster.
func (w *watch) begin(cluster string, names int) {
	w.spoke, w.anew, w.cluster = true, false, cluster
	w.synced, w.revision = false, 0
	w.said, w.behind = make([]saying, names), map[int]struct{}{}
	if w.belonged == nil {
		w.belonged = map[string]bool{}
	}
	w.belonged[cluster] = true
}

// speaksOf reports whether a cluster is the one that w speaks of.
func (w *watch) speaksOf(cluster string) bool { return w.spoke && w.cluster == cluster }

// of returns what the watch knows of a name, and the revision as of which it knows that.
func (w *watch) of(i int) (s saying, ok bool) {
	if !w.spoke {
		return saying{}, false
	}
	s = w.said[i]
	if w.synced && w.revision >= s.revision {
		s.known, s.revision = true, w.revision
	}
	return s, s.known
}

// newer reports whether w knows something newer of a name than other.
func (w *watch) newer(other *watch, i int) bool {
	a, ok := w.of(i)
	b, also := other.of(i)
	return ok && (!also || a.revision > b.revision)
}

// take keeps what an update says. It returns the names that the update is about.
func (w *watch) take(u client.ServicesUpdate, slots map[string]*slot) []*slot {
	about := make([]*slot, 0, len(u.Services)+len(u.Deleted))
	for _, r := range u.Services {
		if s := slots[r.GetService()]; s != nil {
			w.said[s.index] = saying{known: true, record: r, revision: u.Revision}
			about = append(about, s)
		}
	}
	for _, name := range u.Deleted {
		if s := slots[name]; s != nil {
			w.said[s.index] = saying{known: true, revision: u.Revision}
			about = append(about, s)
		}
	}
	if u.Synced {
		w.synced, w.revision = true, max(w.revision, u.Revision)
	}
	return about
}
