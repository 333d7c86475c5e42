package fsm

// Stats are the numbers that a node counts, at one moment.
type Stats struct {
	// Services by effective status, the node's own names not among them.
	Services map[servingStatus]int64
	Watchers int64  // watches of single names
	Wakes    uint64 // times that the watchers of a name were woken
	Restores uint64 // snapshots that took the place of the registry
}

// Stats takes the same time however many services and watchers there are.
func (f *FSM) Stats() Stats {
	s := Stats{
		Services: make(map[servingStatus]int64, serviceUnknown),
		Watchers: f.watches.Watches(),
		Wakes:    f.watches.Wakes(),
		Restores: f.restores.Load(),
	}
	for status := range serviceUnknown { // no service has this status
		s.Services[status] = f.published.Count(status)
	}
	return s
}
