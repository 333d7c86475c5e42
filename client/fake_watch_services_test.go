package client_test

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// servicesStream is a watch of services at a fake node. Its methods are called with cluster.mu held.
type servicesStream struct {
	n     *fakeNode
	req   *rollcallv1.WatchServicesRequest
	begun bool
	sent  int
	at    int64
	queue []*rollcallv1.WatchServicesResponse
}

// WatchServices sends one service a message at first, and then, of a watch by names, those that do not exist. If it goes
// on from a revision, it sends what changed since in one message.
func (n *fakeNode) WatchServices(req *rollcallv1.WatchServicesRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error {
	if err := n.enter(stream.Context(), "WatchServices", req); err != nil {
		return err
	}
	s := &servicesStream{n: n, req: req}
	n.cluster.mu.Lock()
	filtered := n.hidden != ""
	if n.ignoresNames {
		s.req = &rollcallv1.WatchServicesRequest{Prefixes: req.GetPrefixes()}
	}
	n.cluster.mu.Unlock()
	if filtered {
		if err := stream.SetHeader(metadata.Pairs("rollcall-filtered", "true")); err != nil {
			return err
		}
	}
	return follow(n, stream, func() (*rollcallv1.WatchServicesResponse, error) {
		switch {
		case n.stalled && s.sent > 0:
			return nil, nil
		case !s.begun:
			s.begun = true
			if s.goesOn() {
				s.missed()
			} else {
				s.all()
			}
			s.queue[0].ClusterId = n.cluster.id
		}
		for ; len(s.queue) == 0 && s.at < n.applied; s.at++ {
			s.next()
		}
		if len(s.queue) == 0 {
			return nil, nil
		}
		m := s.queue[0]
		s.queue = s.queue[1:]
		s.sent++
		n.sentServices++
		return m, nil
	})
}

// servicesSent is how many messages the node's watches of services have sent.
func (n *fakeNode) servicesSent() int {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.sentServices
}

func (s *servicesStream) wants(name string) bool {
	return name != "" && wanted(name, s.req) && (s.n.hidden == "" || !strings.HasPrefix(name, s.n.hidden))
}

func (s *servicesStream) goesOn() bool {
	from := s.req.GetFromRevision()
	return from > 0 && !s.n.ignoresFrom && len(s.req.GetServices()) == 0 && from <= s.n.applied && from >= s.n.rights &&
		(from == s.n.applied || from+1 >= s.n.cluster.oldest)
}

// all begins with the whole state.
func (s *servicesStream) all() {
	n := s.n
	s.at = n.applied
	if n.hasty {
		s.queue = append(s.queue, &rollcallv1.WatchServicesResponse{Deleted: s.req.GetServices()})
	}
	names := map[string]bool{}
	for _, e := range n.cluster.events[:s.at] {
		names[e.service] = true
	}
	for _, name := range sorted(names) {
		if r := n.cluster.record(name, s.at); r != nil && s.wants(name) {
			s.queue = append(s.queue, &rollcallv1.WatchServicesResponse{Services: []*rollcallv1.ServiceRecord{r}, Revision: s.at})
		}
	}
	last := &rollcallv1.WatchServicesResponse{Revision: s.at, Synced: true}
	for _, name := range s.req.GetServices() {
		if n.cluster.record(name, s.at) == nil {
			last.Deleted = append(last.Deleted, name)
		}
	}
	s.queue = append(s.queue, last)
}

// missed begins with what changed since the revision that is asked for.
func (s *servicesStream) missed() {
	n := s.n
	s.at = n.applied
	names := map[string]bool{}
	for revision := s.req.GetFromRevision() + 1; revision <= s.at; revision++ {
		names[n.cluster.events[revision-1].service] = true
		for _, name := range n.cluster.covered(revision) {
			names[name] = true
		}
	}
	m := &rollcallv1.WatchServicesResponse{Revision: s.at, Resumed: true, Synced: !n.parts}
	for _, name := range sorted(names) {
		if s.wants(name) {
			s.add(m, name)
		}
	}
	if s.queue = append(s.queue, m); n.parts {
		s.queue = append(s.queue, &rollcallv1.WatchServicesResponse{Revision: s.at, Synced: true})
	}
}

// add adds to m what a service is as of its revision.
func (s *servicesStream) add(m *rollcallv1.WatchServicesResponse, name string) {
	if r := s.n.cluster.record(name, m.GetRevision()); r != nil {
		m.Services = append(m.Services, r)
	} else {
		m.Deleted = append(m.Deleted, name)
	}
}

// next queues what the event after s.at changes.
func (s *servicesStream) next() {
	m := &rollcallv1.WatchServicesResponse{Revision: s.at + 1, Synced: true}
	name := s.n.cluster.events[s.at].service
	if name == "" { // of an override, perhaps
		for _, name := range s.n.cluster.covered(s.at + 1) {
			if r := s.n.cluster.record(name, s.at+1); r != nil && s.wants(name) {
				m.Services = append(m.Services, r)
			}
		}
		s.queue = append(s.queue, m)
		return
	}
	if s.wants(name) {
		s.add(m, name)
		s.queue = append(s.queue, m)
	}
}
