package node

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/web"
)

// reading is the node as metrics sees it.
func (n *Node) reading() metrics.Reading {
	s := n.raft.Status()
	f := n.fsm.Stats()
	layers := n.fsm.LayerStats()
	hashes := n.fsm.HashStats()
	r := metrics.Reading{
		Leading:              s.Leading,
		LeaderKnown:          s.Leader != "",
		LeaderContact:        s.LeaderContact,
		Term:                 s.Term,
		CommitIndex:          s.CommitIndex,
		AppliedIndex:         n.fsm.AppliedIndex(),
		LeaderChanges:        s.LeaderChanges,
		FastFailovers:        s.FastFailovers,
		Revision:             n.fsm.Revision(),
		RegistryBacklogBytes: n.registryFile.Backlog(),
		Services:             make(map[string]int64, len(f.Services)),
		Overrides:            layers.Overrides,
		Overridden:           make(map[string]int64, len(layers.Overridden)),
		BreakGlass:           f.BreakGlass,
		Leases:               layers.Leases,
		LeaseGuard:           layers.LeaseGuard,
		LeasesExpired:        layers.LeasesExpired,
		Watchers:             f.Watchers,
		Wakes:                f.Wakes,
		Restores:             f.Restores,
		RequestIDs:           n.fsm.RequestIDs(),
		FeatureLevel:         n.fsm.Level(),
		MaxFeatureLevel:      n.fsm.MaxLevel(),
		HistoryOldest:        n.fsm.Horizon(),
		HashesAgreed:         hashes.Agreed,
		HashesMismatched:     hashes.Mismatched,
		Peers:                make(map[string]bool, len(s.Peers)),
		ClockOffsets:         make(map[string]time.Duration, len(s.Clocks)),
	}
	kept := n.lessor.Stats()
	r.LeasesLate, r.LeaseRenewals = kept.Late, kept.Renewals
	for status, count := range f.Services {
		r.Services[status.String()] = count
	}
	for status, count := range layers.Overridden {
		r.Overridden[status.String()] = count
	}
	rules, _ := n.fsm.ListRules()
	for _, rule := range rules {
		r.Rules = append(r.Rules, metrics.Rule{Name: rule.GetName(), Needed: rule.GetNeeded(), Serving: rule.GetServing()})
	}
	for _, c := range s.Clocks {
		r.ClockOffsets[c.Member] = c.By
	}
	n.readMembers(&r, s)
	n.readUsage(&r)
	for _, b := range n.server.Budgets() {
		r.Budgets = append(r.Budgets, metrics.Budget(b))
	}
	for _, c := range n.server.RPCs() {
		r.RPCs = append(r.RPCs, metrics.RPC{Method: c.Method, Code: c.Code.String(), Count: c.Count})
	}
	r.SSE = metrics.SSE(n.server.HTTPStreams())
	for _, c := range n.server.HTTPRequests() {
		r.HTTPRequests = append(r.HTTPRequests, metrics.HTTPRequests(c))
	}
	return r
}

// readMembers reads the phases of the members, and which of them are reached. Who is a member no more is no peer.
func (n *Node) readMembers(r *metrics.Reading, s raftnode.Status) {
	r.MemberPhases = map[string]string{}
	all, _ := n.members(s)
	members := make(map[string]bool, len(all))
	for _, m := range all {
		members[m.GetName()] = true
		if m.GetPhase() != rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED {
			r.MemberPhases[m.GetName()] = server.PhaseText(m.GetPhase())
		}
	}
	for _, p := range s.Peers {
		if members[p.Name] {
			r.Peers[p.Name] = p.Err == ""
		}
	}
}

// readUsage reads what is limited, what is stored, and the services that were asked for.
func (n *Node) readUsage(r *metrics.Reading) {
	u := n.server.Usage()
	r.Ready, r.ReadsReady = n.server.Ready()
	r.Watches, r.EventWatches, r.StateWatches, r.WatchesLimit = u.Watches, u.EventWatches, u.StateWatches, int64(n.cfg.MaxWatches)
	r.LeaseStreams, r.WriteStreams = u.LeaseStreams, u.WriteStreams
	r.Connections = []metrics.Connections{{Port: "api", Open: u.Connections, Limit: n.connections.API}}
	if n.httpServer != nil {
		r.Connections = append(r.Connections, metrics.Connections{Port: "http", Open: n.httpServer.Open(), Limit: n.connections.HTTP})
	}
	if s, err := n.directory.Usage(); err == nil { // "rollcall status" tells the error
		r.Storage = &metrics.Storage{Registry: s.Registry, Log: s.Log, Snapshots: s.Snapshots, Free: s.Free}
	}
	r.LastSnapshot = n.snapshots.Taken()
	r.TLS = n.readTLS()
	r.Tokens = n.fsm.Access().Tokens()
	r.AuthFailures, r.Denied = n.server.Callers().Failures(), n.server.Denials()
	r.Audit = n.readAudit()
	r.RateLimited = n.server.RateLimited()
	r.ServicesAsked = len(n.cfg.MetricServices) > 0
	r.ServiceStatuses, r.ServicesTruncated = n.metricServices()
}

// metricServices returns the services that begin with one of the prefixes that were asked for, as far as there
// is room for them, and whether there are more.
func (n *Node) metricServices() (all []metrics.ServiceStatus, more bool) {
	seen := map[string]bool{}
	for _, prefix := range n.cfg.MetricServices {
		for after := ""; ; {
			page := n.fsm.ListServices(pattern.Beginnings(prefix), after, metrics.MaxServiceSeries, nil, true)
			for _, rec := range page.Records {
				name := rec.GetService()
				if seen[name] {
					continue
				}
				if len(all) == metrics.MaxServiceSeries {
					return all, true
				}
				seen[name] = true
				all = append(all, metrics.ServiceStatus{Service: name, Status: rec.GetStatus().String()})
			}
			if after = page.After; after == "" {
				break
			}
		}
	}
	return all, false
}

// httpHandler is the server's probes, /metrics, the API and, if asked for, the page and /debug/pprof/. Probes and the page,
// which holds nothing of the registry, are for everybody.
func (n *Node) httpHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", n.server.HTTPHandler())
	mux.Handle("GET /metrics", n.server.StatusOnly(n.metrics.Handler()))
	if n.cfg.Web {
		mux.Handle(web.Root, web.Handler())
		mux.Handle("GET /{$}", http.RedirectHandler(web.Root, http.StatusTemporaryRedirect))
	} else {
		mux.Handle(web.Root, web.Off())
	}
	if n.cfg.Pprof {
		// Not by importing it alone, which would add it to http.DefaultServeMux.
		profiles := http.NewServeMux()
		profiles.HandleFunc("/debug/pprof/", pprof.Index)
		profiles.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
		profiles.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.Handle("/debug/pprof/", n.server.StatusOnly(n.server.ByOwnName(profiles)))
	}
	api := n.server.APIHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Before the mux, which leads a path with "//" or "/../" to another one: names have those.
		if strings.HasPrefix(r.URL.Path, rest.Prefix) {
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// knownHost says whether a name, in lower case, is one of this node's or of its cluster's.
func (n *Node) knownHost(name string) bool {
	if slices.ContainsFunc(n.cfg.HTTPHosts, func(own string) bool { return strings.EqualFold(own, name) }) {
		return true
	}
	if n.tls.source != nil && n.tls.source.Certificate().VerifyHostname(name) == nil {
		return true
	}
	addresses := []string{n.cfg.HTTPListen, n.cfg.APIListen, n.self.APIAddress, n.self.PeerAddress}
	members, _ := n.members(n.raft.Status())
	for _, m := range members {
		addresses = append(addresses, m.GetApiAddress(), m.GetPeerAddress())
	}
	return slices.ContainsFunc(addresses, func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		return err == nil && strings.EqualFold(host, name)
	})
}

// slowDisk is half of raft's heartbeat timeout: an append that takes as long as all of it costs a
// leader its leadership.
var slowDisk = raftnode.DefaultConfig().HeartbeatTimeout / 2

// stuckDisk is how long one append may take before a leader leaves leading to others. It is far above what
// a disk takes that is only slow.
const stuckDisk = 3 * time.Second

// stored is called after each append to raft's log, on raft's goroutine.
func (n *Node) stored(entries int, took time.Duration) {
	n.metrics.Stored(took)
	if took > slowDisk {
		n.slowAppends.warn(n.log, "disk is slow: heartbeats wait for it", "took", took.Round(time.Millisecond).String(),
			"entries", entries, "threshold", slowDisk.String())
	}
}

// flushed is called after each flush of the registry file.
func (n *Node) flushed(f registry.Flush) {
	n.metrics.Flushed(f.Took)
	if f.Waiting > f.Limit/2 {
		n.fullBacklogs.warn(n.log, "registry file falls behind: entries of the log wait for it", "backlog_bytes", f.Waiting,
			"limit_bytes", f.Limit, "took", f.Took.Round(time.Millisecond).String())
	}
}

// noticeEvery is how often a notice is repeated while it stays true.
const noticeEvery = time.Minute

// notice is a warning that could be due very often. It is logged once in noticeEvery.
type notice struct {
	mu   sync.Mutex // guards the rest
	last time.Time
	held int
}

func (n *notice) warn(log *slog.Logger, msg string, args ...any) {
	n.mu.Lock()
	now := time.Now()
	if !n.last.IsZero() && now.Sub(n.last) < noticeEvery {
		n.held++
		n.mu.Unlock()
		return
	}
	held := n.held
	n.last, n.held = now, 0
	n.mu.Unlock()
	if held > 0 {
		args = append(args, "held_back", held)
	}
	log.Warn(msg, args...)
}

// ClientMemory is the use of the budgets of Config.ClientMemory.
func (n *Node) ClientMemory() []server.BudgetUse { return n.server.Budgets() }
