package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reading is a node at one moment. Taking one must be cheap whatever the node holds.
type Reading struct {
	Leading       bool // and has applied the start of its term
	LeaderKnown   bool
	LeaderContact time.Time // zero: never
	Term          uint64
	CommitIndex   uint64
	AppliedIndex  uint64
	LeaderChanges uint64
	// FastFailovers is how often this node stood for election because its leader's process had ended, or was silent.
	FastFailovers uint64
	Revision      int64
	// FeatureLevel is the cluster's, MaxFeatureLevel the highest that this binary can fold.
	FeatureLevel, MaxFeatureLevel uint32

	HistoryOldest int64 // revision from which every event is kept; at most Revision+1

	RegistryBacklogBytes int

	Services map[string]int64 // by reported status

	Overrides  int
	Overridden map[string]int64 // services by the status that an override shows
	Rules      []Rule
	BreakGlass uint64

	Leases        int // that live or are ending
	LeasesLate    int // of the leader
	LeaseGuard    bool
	LeaseRenewals uint64
	LeasesExpired uint64

	Watchers int64
	Wakes    uint64
	Restores uint64

	RequestIDs                     int
	HashesAgreed, HashesMismatched uint64 // state hashes of other nodes, compared

	ClockOffsets map[string]time.Duration // by member: ahead of the cluster's clock
	Peers        map[string]bool          // by member: the last try to reach it succeeded
	MemberPhases map[string]string        // by member: "joining", "voter", "replica" or "leaving"
	RPCs         []RPC
	HTTPRequests []HTTPRequests
	SSE          SSE

	Budgets []Budget

	Ready, ReadsReady bool // "" and rollcall.reads

	Storage      *Storage  // nil: not known
	LastSnapshot time.Time // zero: there is none

	Connections                         []Connections
	Watches, EventWatches, StateWatches int64 // all kinds of watches; those of events; those of state
	LeaseStreams, WriteStreams          int64 // streams that count as watches: of renewals, of writes
	WatchesLimit                        int64

	TLS   *TLS   // nil: plain text
	Audit *Audit // nil: no audit log

	RateLimited uint64 // changes that were refused because of --writes-per-second

	// AuthFailures are the calls whose token proved nothing, by reason; Denied those that their caller may not make,
	// by verb.
	AuthFailures, Denied map[string]uint64
	Tokens               int

	ServiceStatuses   []ServiceStatus // of the services that were asked for, at most MaxServiceSeries
	ServicesTruncated bool            // more were asked for
	ServicesAsked     bool
}

// TLS is what a node with TLS tells of it.
type TLS struct {
	Expiries                     map[string]time.Time // by use: "certificate", "ca"
	ReloadsTaken, ReloadsRefused uint64
	Failed                       []FailedHandshakes
}

// FailedHandshakes are those of one port that failed for one reason.
type FailedHandshakes struct {
	Port, Reason string
	Count        uint64
}

// Audit are the lines of an audit log.
type Audit struct {
	Written uint64
	Lost    uint64 // the file could not be written
	LeftOut uint64 // refused calls: there were too many at once
}

// MaxServiceSeries is the most services that have a series of their own.
const MaxServiceSeries = 1000

// ServiceStatus is the effective status of a service.
type ServiceStatus struct{ Service, Status string }

// Storage is how much disk a node takes, in bytes.
type Storage struct {
	Registry, Log, Snapshots int64
	Free                     int64 // below 0: the system does not tell
}

// Connections are those of a port.
type Connections struct {
	Port        string
	Open, Limit int
}

// Budget is how much of a part of the memory for clients is used.
type Budget struct {
	Name        string
	Used, Limit int64 // bytes
	Refused     int64 // calls so far
}

// Rule is what a safety rule counts.
type Rule struct {
	Name            string
	Needed, Serving int64
}

// RPC is how many calls of a method have ended with a code.
type RPC struct {
	Method, Code string
	Count        uint64
}

// SSE are the watches over HTTP that are open, and those that were refused or cut off since the start.
type SSE struct {
	Services, Events int64
	// Refused are by the limit that was reached: of all, and of those of one address.
	RefusedAll, RefusedAddress int64
	Stalled                    int64
}

// HTTPRequests are the requests to a route of the API over HTTP that were answered with a status.
type HTTPRequests struct {
	Route string // "GET /api/v1/services/{service}"; "none"
	Code  int
	Count int64
}

type emit func(value float64, labels ...string)

// family is a metric that is read at each scrape.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(Reading, emit)
}

func one(value func(Reading) float64) func(Reading, emit) {
	return func(r Reading, e emit) { e(value(r)) }
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// families is the place for a new metric. Labels have few values that an operator or this program chooses: a
// member, a status, a method, a code, a safety rule. A label is never the name of a client. It is the name of a
// service only where an operator asked for it, up to MaxServiceSeries.
var families = []family{
	{"rollcall_ready", "1 while this node is ready: \"\" is SERVING.", gauge, nil,
		one(func(r Reading) float64 { return truth(r.Ready) })},
	{"rollcall_reads_ready", "1 while this node answers reads: rollcall.reads is SERVING, and /readyz is ok.", gauge, nil,
		one(func(r Reading) float64 { return truth(r.ReadsReady) })},
	{"rollcall_registry_file_bytes", "Size of registry.db.", gauge, nil,
		stored(func(s Storage) int64 { return s.Registry })},
	{"rollcall_log_bytes", "Size of the Raft log and the votes: wal/ and raft.db.", gauge, nil,
		stored(func(s Storage) int64 { return s.Log })},
	{"rollcall_snapshots_bytes", "Size of the snapshots that are kept.", gauge, nil,
		stored(func(s Storage) int64 { return s.Snapshots })},
	{"rollcall_disk_free_bytes", "What this node may still write to the disk of its data. No sample on a system that does not tell.", gauge, nil,
		stored(func(s Storage) int64 { return s.Free })},
	{"rollcall_last_snapshot_age_seconds", "Time since the newest snapshot on this node was taken or had arrived; no sample while there is none.", gauge, nil,
		func(r Reading, e emit) {
			if !r.LastSnapshot.IsZero() {
				e(max(0, time.Since(r.LastSnapshot).Seconds()))
			}
		}},
	{"rollcall_connections", "Connections of clients that are open, by port: api or http.", gauge, []string{"port"},
		func(r Reading, e emit) {
			for _, c := range r.Connections {
				e(float64(c.Open), c.Port)
			}
		}},
	{"rollcall_connections_limit", "Most connections: --max-connections and --max-http-connections, or less where the system's limit on open files leaves less.", gauge, []string{"port"},
		func(r Reading, e emit) {
			for _, c := range r.Connections {
				e(float64(c.Limit), c.Port)
			}
		}},
	{"rollcall_watches", "Watches of all kinds that are open on this node: what --max-watches limits.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Watches) })},
	{"rollcall_watches_limit", "Most watches on this node (--max-watches).", gauge, nil,
		one(func(r Reading) float64 { return float64(r.WatchesLimit) })},
	{"rollcall_event_watchers", "Watches of events (WatchEvents) among them.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.EventWatches) })},
	{"rollcall_state_watchers", "Watches of the state of many services (WatchServices) among them.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.StateWatches) })},
	{"rollcall_lease_streams", "Streams of renewals of leases (KeepAlive) among them.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.LeaseStreams) })},
	{"rollcall_write_streams", "Streams of writes (WriteStream) among them.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.WriteStreams) })},
	{"rollcall_service_status", "1 for the effective status of each service under a prefix of --metric-services; at most 1000 services. No sample without that flag.", gauge, []string{"service", "status"},
		func(r Reading, e emit) {
			for _, s := range r.ServiceStatuses {
				e(1, s.Service, s.Status)
			}
		}},
	{"rollcall_service_status_truncated", "1 if more than 1000 services are under a prefix of --metric-services, so that some have no sample. No sample without that flag.", gauge, nil,
		func(r Reading, e emit) {
			if r.ServicesAsked {
				e(truth(r.ServicesTruncated))
			}
		}},
	{"rollcall_client_memory_used_bytes", "Memory that is held for clients: for requests that are not complete, what streams send, answers to reads, changes that wait for theirs.", gauge, []string{"budget"},
		func(r Reading, e emit) {
			for _, b := range r.Budgets {
				e(float64(b.Used), b.Name)
			}
		}},
	{"rollcall_client_memory_limit_bytes", "Most memory that is held for clients (--client-memory, divided).", gauge, []string{"budget"},
		func(r Reading, e emit) {
			for _, b := range r.Budgets {
				e(float64(b.Limit), b.Name)
			}
		}},
	{"rollcall_client_memory_refused_total", "Calls that were refused because of one of these limits, or of one connection's part of it.", counter, []string{"budget"},
		func(r Reading, e emit) {
			for _, b := range r.Budgets {
				e(float64(b.Refused), b.Name)
			}
		}},
	{"rollcall_is_leader", "1 while this node leads and takes writes, else 0.", gauge, nil,
		one(func(r Reading) float64 { return truth(r.Leading) })},
	{"rollcall_leader_known", "1 while this node knows a leader; 0 on a majority means that writes are refused.", gauge, nil,
		one(func(r Reading) float64 { return truth(r.LeaderKnown) })},
	{"rollcall_leader_contact_age_seconds", "Time since this node last heard from a leader; 0 on the leader, no sample if it never has.", gauge, nil,
		func(r Reading, e emit) {
			if r.Leading {
				e(0)
			} else if !r.LeaderContact.IsZero() {
				e(max(0, time.Since(r.LeaderContact).Seconds()))
			}
		}},
	{"rollcall_leader_changes_total", "How often another leader became known to this node, or one again after none was.", counter, nil,
		one(func(r Reading) float64 { return float64(r.LeaderChanges) })},
	{"rollcall_fast_failovers_total", "How often this node stood for election before raft's timeout, because its leader's process had ended or its leader was silent.", counter, nil,
		one(func(r Reading) float64 { return float64(r.FastFailovers) })},
	{"rollcall_term", "Raft's term.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Term) })},
	{"rollcall_commit_index", "Newest log entry that this node knows to be committed.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.CommitIndex) })},
	{"rollcall_applied_index", "Newest log entry whose effects this node shows.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.AppliedIndex) })},
	{"rollcall_lag_entries", "Entries that this node knows to be committed and does not show yet. A node that hears no leader does not know how far behind it is: see rollcall_leader_contact_age_seconds.", gauge, nil,
		one(func(r Reading) float64 {
			if r.CommitIndex <= r.AppliedIndex {
				return 0
			}
			return float64(r.CommitIndex - r.AppliedIndex)
		})},
	{"rollcall_revision", "Revision of the registry on this node: that of its newest event.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Revision) })},
	{"rollcall_feature_level", "The cluster's feature level, as far as this node has applied the log.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.FeatureLevel) })},
	{"rollcall_feature_level_max", "The highest feature level that this node's version can read; nodes that differ: an upgrade is not complete.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.MaxFeatureLevel) })},
	{"rollcall_history_oldest_revision", "Oldest revision from which every event is kept; older ones were compacted.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.HistoryOldest) })},
	{"rollcall_history_events", "Events from the oldest revision on: what --history-events limits.", gauge, nil,
		one(func(r Reading) float64 { return float64(max(0, r.Revision-r.HistoryOldest+1)) })},
	{"rollcall_services", "Services by reported status. What overrides show instead: rollcall_overridden_services.", gauge, []string{"status"},
		func(r Reading, e emit) {
			for status, n := range r.Services {
				e(float64(n), status)
			}
		}},
	{"rollcall_leases", "Leases that live, or are ending.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Leases) })},
	{"rollcall_leases_late", "Leases that the lease guard counts as late, those that are due among them. Only the leader knows; 0 elsewhere.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.LeasesLate) })},
	{"rollcall_lease_guard_engaged", "1 while the lease guard holds all leases because very many are late.", gauge, nil,
		one(func(r Reading) float64 { return truth(r.LeaseGuard) })},
	{"rollcall_lease_renewals_total", "Renewals of leases that this node acknowledged as the leader.", counter, nil,
		one(func(r Reading) float64 { return float64(r.LeaseRenewals) })},
	{"rollcall_leases_expired_total", "Leases that ended because nobody renewed them, applied since the node was started.", counter, nil,
		one(func(r Reading) float64 { return float64(r.LeasesExpired) })},
	{"rollcall_overrides", "Overrides that have not ended.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Overrides) })},
	{"rollcall_overridden_services", "Services over which an override decides, by the status that it shows.", gauge, []string{"status"},
		func(r Reading, e emit) {
			for status, n := range r.Overridden {
				e(float64(n), status)
			}
		}},
	{"rollcall_rule_serving", "Services that a safety rule covers and that are SERVING, overrides included. There are at most 1,000 rules.", gauge, []string{"rule"},
		func(r Reading, e emit) {
			for _, rule := range r.Rules {
				e(float64(rule.Serving), rule.Name)
			}
		}},
	{"rollcall_rule_needed", "How many of them the rule needs. Above rollcall_rule_serving: the rule is broken.", gauge, []string{"rule"},
		func(r Reading, e emit) {
			for _, rule := range r.Rules {
				e(float64(rule.Needed), rule.Name)
			}
		}},
	{"rollcall_break_glass_total", "Changes that broke safety rules because break_glass let them, applied by this node since its start.", counter, nil,
		one(func(r Reading) float64 { return float64(r.BreakGlass) })},
	{"rollcall_watchers", "Watches of single services that are open on this node.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Watchers) })},
	{"rollcall_wakes_total", "How often the watchers of a service were woken, all of them counting once.", counter, nil,
		one(func(r Reading) float64 { return float64(r.Wakes) })},
	{"rollcall_registry_backlog_bytes", "What is applied and not yet written to the registry file, estimated. At 64 MiB this node takes no new entries until some of it is written.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.RegistryBacklogBytes) })},
	{"rollcall_snapshot_restores_total", "Snapshots from the leader that replaced this node's registry since its start.", counter, nil,
		one(func(r Reading) float64 { return float64(r.Restores) })},
	{"rollcall_request_ids", "Request ids that are remembered, so that a write tried again gets its first answer.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.RequestIDs) })},
	{"rollcall_state_hashes_compared_total", "State hashes that came with log entries and were compared with this node's own. Any mismatch means that replicas differ: see docs/guarantees.md.", counter, []string{"result"},
		func(r Reading, e emit) {
			e(float64(r.HashesAgreed), "agreed")
			e(float64(r.HashesMismatched), "mismatched")
		}},
	{"rollcall_peer_up", "1 if the last try to reach that member succeeded, else 0. A leader tries all the time, a follower seldom: ask the leader's.", gauge, []string{"member"},
		func(r Reading, e emit) {
			for member, up := range r.Peers {
				e(truth(up), member)
			}
		}},
	{"rollcall_member_phase", "1 for the phase that each member of the cluster is in, as this node knows it: joining, voter, replica or leaving.", gauge, []string{"member", "phase"},
		func(r Reading, e emit) {
			for member, phase := range r.MemberPhases {
				e(1, member, phase)
			}
		}},
	{"rollcall_tls_certificate_expiry_timestamp_seconds", "When the node's certificate, with the CAs above it, or the first of the CAs that it believes expires, in seconds since 1970. No sample with --tls off.", gauge, []string{"use"},
		func(r Reading, e emit) {
			if r.TLS == nil {
				return
			}
			for use, end := range r.TLS.Expiries {
				e(float64(end.Unix()), use)
			}
		}},
	{"rollcall_tls_reloads_total", "Files of certificates that changed, by what became of them: taken, or refused and the old ones kept.", counter, []string{"result"},
		func(r Reading, e emit) {
			if r.TLS != nil {
				e(float64(r.TLS.ReloadsTaken), "taken")
				e(float64(r.TLS.ReloadsRefused), "refused")
			}
		}},
	{"rollcall_tls_handshakes_failed_total", "Connections that were refused during the TLS handshake or because of the certificate, by port (api, peer, http) and reason.", counter, []string{"port", "reason"},
		func(r Reading, e emit) {
			if r.TLS == nil {
				return
			}
			for _, f := range r.TLS.Failed {
				e(float64(f.Count), f.Port, f.Reason)
			}
		}},
	{"rollcall_auth_failures_total", "Calls that were refused because their token proves nothing, by reason: token_unknown, token_expired, token_revoked, token_damaged, token_over_plain_text.", counter, []string{"reason"},
		func(r Reading, e emit) {
			for reason, count := range r.AuthFailures {
				e(float64(count), reason)
			}
		}},
	{"rollcall_denied_total", "Calls and changes that were refused because their caller may not make them, by the verb that it lacks. No sample of a verb of which nothing was refused.", counter, []string{"verb"},
		func(r Reading, e emit) {
			for verb, count := range r.Denied {
				e(float64(count), verb)
			}
		}},
	{"rollcall_tokens", "Tokens that there are, expired ones too; at most 10000.", gauge, nil,
		one(func(r Reading) float64 { return float64(r.Tokens) })},
	{"rollcall_audit_lines_total", "Lines that are in the audit log, since the node was started. No sample without --audit-log.", counter, nil,
		func(r Reading, e emit) {
			if r.Audit != nil {
				e(float64(r.Audit.Written))
			}
		}},
	{"rollcall_audit_dropped_total", "Lines that the audit log does not have, by why: not-written, because its file could not be written for too long; too-many, refused calls that were too many at once. No sample without --audit-log.", counter, []string{"why"},
		func(r Reading, e emit) {
			if r.Audit != nil {
				e(float64(r.Audit.Lost), "not-written")
				e(float64(r.Audit.LeftOut), "too-many")
			}
		}},
	{"rollcall_rate_limited_total", "Changes that this node refused because their caller makes more in a second than --writes-per-second.", counter, nil,
		one(func(r Reading) float64 { return float64(r.RateLimited) })},
	{"rollcall_clock_offset_seconds", "How far that member's clock is ahead of the cluster's clock, as this node measured it lately. Above 0.5 its time service needs attention.", gauge, []string{"member"},
		func(r Reading, e emit) {
			for member, ahead := range r.ClockOffsets {
				e(ahead.Seconds(), member)
			}
		}},
	{"rollcall_rpcs_total", "Calls that have ended, by gRPC method and code, forwarded changes between nodes (rollcall.peer.v1) included; a watch counts when it ends.", counter, []string{"method", "code"},
		func(r Reading, e emit) {
			for _, c := range r.RPCs {
				e(float64(c.Count), c.Method, c.Code)
			}
		}},
	{"rollcall_http_requests_total", "Requests to /api that have been answered, by route and HTTP status; a stream counts when it ends. Those that became a call are in rollcall_rpcs_total too. The route is none if there is nothing at their path.", counter, []string{"route", "code"},
		func(r Reading, e emit) {
			for _, c := range r.HTTPRequests {
				e(float64(c.Count), c.Route, strconv.Itoa(c.Code))
			}
		}},
	{"rollcall_sse_streams", "Watches over HTTP (server-sent events) that are open, by what they watch: services or events. They count in rollcall_watches too.", gauge, []string{"watch"},
		func(r Reading, e emit) {
			e(float64(r.SSE.Services), "services")
			e(float64(r.SSE.Events), "events")
		}},
	{"rollcall_sse_refused_total", "Watches over HTTP that were refused, by the limit that was reached: node (half of --max-http-connections) or address (100 of one address; of IPv6, of its network of 64 bits).", counter, []string{"limit"},
		func(r Reading, e emit) {
			e(float64(r.SSE.RefusedAll), "node")
			e(float64(r.SSE.RefusedAddress), "address")
		}},
	{"rollcall_sse_stalled_total", "Watches over HTTP that were cut off because nobody read what was sent for 30 s.", counter, nil,
		one(func(r Reading) float64 { return float64(r.SSE.Stalled) })},
}

// stored is a family of one part of the storage.
func stored(part func(Storage) int64) func(Reading, emit) {
	return func(r Reading, e emit) {
		if r.Storage == nil {
			return
		}
		if bytes := part(*r.Storage); bytes >= 0 {
			e(float64(bytes))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var descs = func() []*prometheus.Desc {
	var all []*prometheus.Desc
	for _, f := range families {
		all = append(all, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	return all
}()

// collector makes one reading at each scrape, so that all samples are of one moment.
type collector struct{ read func() Reading }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	r := c.read()
	for i, f := range families {
		f.read(r, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(descs[i], f.kind, value, labels...)
		})
	}
}
