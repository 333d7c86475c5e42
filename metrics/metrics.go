package metrics

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// diskSeconds reach from a fast SSD to a disk that costs a node its leadership.
var diskSeconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// Metrics is the registry of one node. Its methods may be called from anywhere and never block.
type Metrics struct {
	registry                    *prometheus.Registry
	store, commit, flush, apply prometheus.Histogram
	commands, batch             prometheus.Histogram
	writes, linearizable        prometheus.Histogram
}

// New returns the metrics of a node of that version. What is read at each scrape comes from Collect.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	m.store = histogram("rollcall_raft_store_duration_seconds",
		"Time to append entries to the Raft log, fsync included. Heartbeats wait for it: it must stay well below 600 ms.", diskSeconds)
	m.commit = histogram("rollcall_raft_commit_duration_seconds",
		"Time from proposing an entry to its being applied here, on the leader: what a write waits for.", diskSeconds)
	m.commands = histogram("rollcall_raft_entry_commands",
		"Commands that shared one log entry, on the leader.", prometheus.ExponentialBuckets(1, 2, 10))
	m.apply = histogram("rollcall_apply_duration_seconds",
		"Time to fold and publish one batch of committed entries, waiting for room in the registry file included.",
		[]float64{.00001, .000025, .0001, .00025, .001, .0025, .01, .025, .1, .25, 1})
	m.batch = histogram("rollcall_apply_entries",
		"Committed entries that were applied in one batch.", prometheus.ExponentialBuckets(1, 2, 7))
	m.flush = histogram("rollcall_registry_flush_duration_seconds",
		"Time to write one backlog to the registry file, fsync included.", diskSeconds)

	m.writes = histogram("rollcall_write_duration_seconds",
		"Time of a change on the node that the client called: the hop to the leader, commit. Refused and failed ones count too; invalid requests and dry runs do not.", diskSeconds)
	m.linearizable = histogram("rollcall_linearizable_read_duration_seconds",
		"Time until a linearizable read knew that this node shows every acknowledged write. The read itself takes microseconds more.", diskSeconds)

	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rollcall_build_info", Help: "1; the labels say which build this is. commit is empty in a build without version control.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version(), "commit": commit()},
	})
	info.Set(1)
	m.registry.MustRegister(info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// commit is of the source that this binary was built from.
func commit() (revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + dirty
}

// Wrote takes note of each change of a client.
func (m *Metrics) Wrote(took time.Duration) { m.writes.Observe(took.Seconds()) }

// ReadLinearizable takes note of each linearizable read.
func (m *Metrics) ReadLinearizable(waited time.Duration) { m.linearizable.Observe(waited.Seconds()) }

// Collect has read called at each scrape, from any goroutine. Call it once.
func (m *Metrics) Collect(read func() Reading) { m.registry.MustRegister(collector{read}) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Stored takes note of each append to the Raft log.
func (m *Metrics) Stored(took time.Duration) { m.store.Observe(took.Seconds()) }

// Committed takes note of each entry that this node proposed and that was applied.
func (m *Metrics) Committed(commands int, took time.Duration) {
	m.commands.Observe(float64(commands))
	m.commit.Observe(took.Seconds())
}

// Applied takes note of each batch of entries.
func (m *Metrics) Applied(entries int, took time.Duration) {
	m.batch.Observe(float64(entries))
	m.apply.Observe(took.Seconds())
}

// Flushed takes note of each flush of the registry file.
func (m *Metrics) Flushed(took time.Duration) { m.flush.Observe(took.Seconds()) }
