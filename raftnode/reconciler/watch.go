package reconciler

import "time"

const (
	// Near is how many entries a server may lack to count as one that has caught up.
	Near = 100
	// SteadyFor is how long a server lacks no more than Near before it gets its vote.
	SteadyFor = 5 * time.Second
	// Fresh is how old a server's last answer may be, with which it says how much it has.
	Fresh = 500 * time.Millisecond
	// unseen is how long nobody may look before it counts as if the server had not kept up.
	unseen = 2 * time.Second
)

// Watch remembers since when servers have kept up with the leader. The zero value knows of none.
type Watch struct {
	steady map[string]steady // by name and directory
}

type steady struct{ since, looked time.Time }

// Look takes what the leader knows of a server at a moment: how many entries it lacks, and when it said so.
func (w *Watch) Look(server Server, behind uint64, at, now time.Time) Progress {
	key := server.Name + "/" + server.Directory
	p := Progress{Known: true, Behind: behind}
	if behind > Near || now.Sub(at) > Fresh {
		delete(w.steady, key)
		return p
	}
	if w.steady == nil {
		w.steady = map[string]steady{}
	}
	last, ok := w.steady[key]
	if !ok || now.Sub(last.looked) > unseen {
		last.since = now
	}
	last.looked = now
	w.steady[key] = last
	p.Steady = now.Sub(last.since) >= SteadyFor
	return p
}

// Forget is called when nothing is left to do.
func (w *Watch) Forget() { clear(w.steady) }
