package logv1

// Delta is what a run of log entries changed: the unit in which the fold hands its work to the
// registry file, which stores it whole or not at all. It owns nothing: records and events in it are never
// modified again.
type Delta struct {
	// Index and Term are of the last entry of the run.
	Index, Term uint64
	// Revision and LogTime are the registry's after it.
	Revision, LogTime int64
	// Horizon is the registry's after it; 0: as before.
	Horizon int64
	// Level is the cluster's feature level after it; 0: as before.
	Level     uint32
	ClusterID string
	// StateHash is of the registry after the run; nil: not known.
	StateHash *StateHash

	Services        []*ServiceRecord // put
	DeletedServices []string
	Members         []*Member        // put
	Events          []*Event         // in order of revision
	Requests        []*RequestRecord // put, in order of their keys
	DeletedRequests []string         // keys, see RequestKey
}

// Visitor receives the content of a registry file, in any order; what it is given is its own. An error
// ends the visit.
type Visitor struct {
	Service func(*ServiceRecord) error
	Member  func(*Member) error
	Request func(*RequestRecord) error

	// Services may be called in place of Service, if it is set, with many neighbours at once and by
	// several goroutines at a time: parts are numbered from 0 in the order of their services' names. What
	// it is given is only there during the call. Who hands out may still use Service, for some or all.
	Services func(part int, services []ServiceBytes) error
}
