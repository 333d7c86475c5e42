package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	gometrics "github.com/hashicorp/go-metrics/compat" // the one that raft reports to, whatever the build tags
	"github.com/prometheus/client_golang/prometheus"
)

// Raft is what hashicorp/raft says of itself: those of its numbers that an operator uses and that
// nobody measures around it. Raft reports to go-metrics, which has one sink for the process, so this
// is of all rafts in the process; see InstallRaft and docs/decisions/0008-metrics-around-raft.md.
type Raft struct {
	// takes are by raft's key, its parts joined by dots. Values are milliseconds where they are times.
	takes      map[string]func(value float64, labels []gometrics.Label)
	collectors []prometheus.Collector

	// Of leaders only, and if raft knows it: as raft sets it, it would stay for ever, and be 0 until the
	// first compaction, as the entry that a cluster begins with has no time.
	oldestLogAge    prometheus.Gauge
	leading, hasAge atomic.Bool
}

// maxRaftMembers bounds a label whatever the cluster's configurations have been; the rest are "other".
const maxRaftMembers = 32

// InstallRaft has all rafts of this process report to what it returns, from now on. It is for main: it
// sets what is global, and the last call wins.
func InstallRaft() (*Raft, error) {
	r := newRaft()
	// Not DefaultConfig: that puts the host's name into keys and starts a goroutine for the runtime.
	if _, err := gometrics.NewGlobal(raftSinkConfig(), raftSink{r}); err != nil {
		return nil, err
	}
	return r, nil
}

func raftSinkConfig() *gometrics.Config {
	return &gometrics.Config{TimerGranularity: time.Millisecond, FilterDefault: true}
}

// CollectRaft has r in the scrapes too. Call it once.
func (m *Metrics) CollectRaft(r *Raft) { m.registry.MustRegister(r) }

func newRaft() *Raft {
	r := &Raft{takes: make(map[string]func(float64, []gometrics.Label))}

	counter := func(name, help, key string) {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.collectors = append(r.collectors, c)
		r.takes[key] = func(v float64, _ []gometrics.Label) { c.Add(max(0, v)) }
	}
	histogram := func(name, help, key string, buckets []float64) {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		r.collectors = append(r.collectors, h)
		r.takes[key] = func(ms float64, _ []gometrics.Label) { h.Observe(ms / 1000) }
	}

	counter("rollcall_raft_heartbeat_timeouts_total",
		"How often this node, a follower, heard no leader for the heartbeat timeout and asked for an election.",
		"raft.transition.heartbeat_timeout")
	counter("rollcall_raft_lease_timeouts_total",
		"How often this node stopped leading because a majority did not answer it in time.",
		"raft.transition.leader_lease_timeout")
	counter("rollcall_raft_log_written_bytes_total",
		"What was appended to the Raft log, before bbolt's own overhead, where it is in raft.db (--log-store boltdb).",
		"raft.boltdb.logBatchSize")
	states := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rollcall_raft_states_entered_total",
		Help: "How often raft became a follower, a candidate or the leader here. Candidates without a leader after them: elections that fail."}, []string{"state"})

	histogram("rollcall_raft_follower_contact_age_seconds",
		"How long ago each follower last answered, whenever the leader looks at its lease. Near 0.6 s it stops leading.",
		"raft.leader.lastContact", []float64{.01, .025, .05, .1, .15, .2, .3, .45, .6, 1, 2.5, 5, 10})
	histogram("rollcall_raft_compaction_duration_seconds",
		"Time to delete the entries of the Raft log that a snapshot holds; appending waits for it.",
		"raft.compactLogs", diskSeconds)
	histogram("rollcall_raft_fsm_snapshot_duration_seconds",
		"Time that applying stands still to begin a snapshot: the registry file is flushed.",
		"raft.fsm.snapshot", diskSeconds)
	histogram("rollcall_raft_snapshot_duration_seconds",
		"Time to write a snapshot to disk, while everything goes on.",
		"raft.snapshot.persist", longSeconds)
	histogram("rollcall_raft_fsm_restore_duration_seconds",
		"Time to replace the registry by the leader's snapshot, once it has arrived. If that takes longer than rollcall_raft_oldest_log_age_seconds, this node needs the next one when it is done.",
		"raft.fsm.restore", longSeconds)

	answered := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "rollcall_raft_rpc_duration_seconds",
		Help: "Time this node took to answer raft's calls from other members, the fsync of appended entries included.", Buckets: diskSeconds}, []string{"rpc"})
	for key, rpc := range map[string]string{
		"raft.rpc.appendEntries":   "append_entries",
		"raft.rpc.requestVote":     "request_vote",
		"raft.rpc.installSnapshot": "install_snapshot",
	} {
		h := answered.WithLabelValues(rpc)
		r.takes[key] = func(ms float64, _ []gometrics.Label) { h.Observe(ms / 1000) }
	}
	asked := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "rollcall_raft_peer_rpc_duration_seconds",
		Help: "Time until that member had answered this leader's call.", Buckets: diskSeconds}, []string{"member", "rpc"})
	for key, rpc := range map[string]string{
		"raft.replication.appendEntries.rpc": "append_entries",
		"raft.replication.heartbeat":         "heartbeat",
		"raft.replication.installSnapshot":   "install_snapshot",
	} {
		members := &byMember{histograms: asked, rpc: rpc, seen: make(map[string]prometheus.Observer)}
		r.takes[key] = func(ms float64, labels []gometrics.Label) { members.of(labels).Observe(ms / 1000) }
	}
	saturation := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rollcall_raft_thread_saturation_ratio",
		Help: "Share of the last second or more in which raft's goroutine did not wait for work. Near 1, main delays heartbeats, fsm delays reads of one's own writes."}, []string{"thread"})
	for key, thread := range map[string]string{"raft.thread.main.saturation": "main", "raft.thread.fsm.saturation": "fsm"} {
		g := saturation.WithLabelValues(thread)
		r.takes[key] = func(v float64, _ []gometrics.Label) { g.Set(v) }
	}
	r.collectors = append(r.collectors, states, answered, asked, saturation)

	r.oldestLogAge = prometheus.NewGauge(prometheus.GaugeOpts{Name: "rollcall_raft_oldest_log_age_seconds",
		Help: "How long ago the oldest entry in the Raft log was written. A follower that was away for longer needs a snapshot. No sample but on a leader whose log was compacted at least once."})
	r.takes["raft.leader.oldestLogAge"] = func(ms float64, _ []gometrics.Label) {
		r.oldestLogAge.Set(ms / 1000)
		r.hasAge.Store(ms > 0)
	}
	for _, state := range []string{"follower", "candidate", "leader"} {
		c := states.WithLabelValues(state)
		r.takes["raft.state."+state] = func(v float64, _ []gometrics.Label) {
			r.leading.Store(state == "leader")
			c.Add(max(0, v))
		}
	}
	return r
}

// longSeconds reach from an empty registry to one of gigabytes.
var longSeconds = []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300}

// Describe implements prometheus.Collector.
func (r *Raft) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range r.collectors {
		c.Describe(ch)
	}
	r.oldestLogAge.Describe(ch)
}

// Collect implements prometheus.Collector.
func (r *Raft) Collect(ch chan<- prometheus.Metric) {
	for _, c := range r.collectors {
		c.Collect(ch)
	}
	if r.leading.Load() && r.hasAge.Load() {
		r.oldestLogAge.Collect(ch)
	}
}

// take drops what nobody asked for without allocating: raft reports several times for every entry.
func (r *Raft) take(key []string, value float32, labels []gometrics.Label) {
	var room [48]byte // more than any key that is taken
	joined := room[:0]
	for i, part := range key {
		if len(joined)+1+len(part) > len(room) {
			return
		}
		if i > 0 {
			joined = append(joined, '.')
		}
		joined = append(joined, part...)
	}
	if take := r.takes[string(joined)]; take != nil {
		take(float64(value), labels)
	}
}

// byMember keeps the histograms of one call by member: looking one up is a third of what it costs
// with Prometheus' own labels.
type byMember struct {
	histograms *prometheus.HistogramVec
	rpc        string

	mu   sync.RWMutex // guards seen
	seen map[string]prometheus.Observer
}

func (b *byMember) of(labels []gometrics.Label) prometheus.Observer {
	id := ""
	for _, l := range labels {
		if l.Name == "peer_id" {
			id = l.Value
		}
	}
	b.mu.RLock()
	h := b.seen[id]
	b.mu.RUnlock()
	if h != nil {
		return h
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= maxRaftMembers {
		return b.histograms.WithLabelValues("other", b.rpc)
	}
	h = b.histograms.WithLabelValues(id, b.rpc)
	b.seen[id] = h
	return h
}

// raftSink is what go-metrics calls.
type raftSink struct{ raft *Raft }

var _ gometrics.MetricSink = raftSink{}

func (s raftSink) SetGauge(key []string, v float32)    { s.raft.take(key, v, nil) }
func (s raftSink) IncrCounter(key []string, v float32) { s.raft.take(key, v, nil) }
func (s raftSink) AddSample(key []string, v float32)   { s.raft.take(key, v, nil) }
func (s raftSink) EmitKey([]string, float32)           {}

func (s raftSink) SetGaugeWithLabels(key []string, v float32, labels []gometrics.Label) {
	s.raft.take(key, v, labels)
}

func (s raftSink) IncrCounterWithLabels(key []string, v float32, labels []gometrics.Label) {
	s.raft.take(key, v, labels)
}

func (s raftSink) AddSampleWithLabels(key []string, v float32, labels []gometrics.Label) {
	s.raft.take(key, v, labels)
}
