package server

import (
	"context"
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/server/peerconn"
)

// lookEvery is how often a node looks whether others are members no more.
const lookEvery = 5 * time.Second

// forgetDeparted forgets members that are none any more, until ctx ends: their connections, and since when they have
// been silent.
func (s *clusterService) forgetDeparted(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			s.forget(s.pool)
		case <-ctx.Done():
			return
		}
	}
}

func (s *clusterService) forget(pool *peerconn.Pool) {
	st := s.source.NodeStatus()
	if !st.Formed {
		return
	}
	members := make(map[string]string, len(st.Members))
	for _, m := range st.Members {
		members[m.GetName()] = m.GetDirectoryId()
		if slices.Contains(st.GoneVoters, m.GetName()) {
			members[m.GetName()] = "" // the old directory may still lead
		}
	}
	pool.Keep(members)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.down {
		if _, member := members[name]; !member {
			delete(s.down, name)
		}
	}
}
