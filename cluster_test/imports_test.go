package cluster_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollcallhq/rollcall/"

// rooms says what of this module each package may import: the arrows of docs/architecture.md.
var rooms = map[string][]string{
	"api/rollcall/v1":      {},
	"api/rollcall/rest/v1": {"api/rollcall/v1"},
	"api/rollcall/apijson": {"api/rollcall/v1"},
	"api/rollcall/limits":  {"api/rollcall/v1"},
	"api/rollcall/log/v1":  {},
	"api/rollcall/convert": {"fsm/access", "api/rollcall/pattern", "api/rollcall/v1", "api/rollcall/log/v1"},
	"api/rollcall/pattern": {"api/rollcall/v1"},
	"api/rollcall/peer/v1": {"api/rollcall/log/v1"},
	"fsm":                  {"api/rollcall/pattern", "fsm/access", "fsm/layers", "fsm/leases", "fsm/rules", "api/rollcall/limits", "api/rollcall/v1", "api/rollcall/log/v1", "api/rollcall/convert", "fsm/follow", "fsm/history", "fsm/statusmap", "fsm/watch"},
	"fsm/follow":           {"api/rollcall/pattern", "api/rollcall/v1", "api/rollcall/log/v1", "fsm/history"},
	"fsm/history":          {"api/rollcall/pattern", "fsm/layers", "api/rollcall/v1", "api/rollcall/log/v1", "api/rollcall/convert"},
	"fsm/statusmap":        {"api/rollcall/v1"},
	"fsm/watch":            {"api/rollcall/pattern"},
	"fsm/layers":           {"api/rollcall/convert", "api/rollcall/log/v1", "api/rollcall/pattern", "api/rollcall/v1"},
	"fsm/rules":            {"api/rollcall/log/v1", "api/rollcall/pattern", "fsm/layers"},
	"fsm/leases":           {},
	"fsm/access":           {"api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1"},
	"store":                {"api/rollcall/log/v1", "store/boltfile", "store/raftlog", "store/registry", "store/snapshot", "store/vfs"},
	"store/vfs":            {},
	"store/boltfile":       {"store/vfs"},
	"store/watchdog":       {},
	"store/raftlog":        {"api/rollcall/log/v1", "store/boltfile", "store/vfs", "store/watchdog"},
	"store/snapshot":       {"api/rollcall/log/v1", "store/vfs"},
	"store/registry":       {"api/rollcall/log/v1", "store/boltfile", "store/snapshot", "store/vfs", "store/watchdog"},
	"store/verify":         {"api/rollcall/log/v1", "store", "store/raftlog", "store/registry", "store/snapshot", "store/vfs"},
	"certs":                {"api/rollcall/limits"},
	"certs/issue":          {"api/rollcall/limits", "certs"},
	"tlsport":              {"certs"},
	"internal/tlstest":     {"certs"},
	// For tests.
	"internal/connfailure": {},
	"internal/grpctest":    {},
	"internal/openapitest": {},
	"store/lossyfs":        {},
	"store/storetest":      {"api/rollcall/log/v1"},
	"store/disktest":       {"api/rollcall/log/v1", "store", "store/raftlog", "store/registry", "store/snapshot", "store/storetest", "store/vfs"},
	"raftnode":             {"tlsport", "api/rollcall/limits", "api/rollcall/log/v1", "api/rollcall/peer/v1", "store", "store/raftlog", "raftnode/clock", "raftnode/failover", "raftnode/forming", "raftnode/peerport", "raftnode/proposer", "raftnode/raftlogger", "raftnode/reach", "raftnode/reconciler", "raftnode/roster", "raftnode/serveraddress", "raftnode/transport", "raftnode/workaround"},
	"raftnode/reach":       {},
	"raftnode/clock":       {"api/rollcall/limits", "api/rollcall/peer/v1"},
	"raftnode/failover":    {"api/rollcall/peer/v1", "raftnode/peerport", "raftnode/transport", "raftnode/workaround"},
	"raftnode/forming":     {"api/rollcall/peer/v1", "store", "store/raftlog", "raftnode/peerport", "raftnode/roster"},
	"raftnode/roster":      {"api/rollcall/log/v1", "api/rollcall/peer/v1", "raftnode/serveraddress", "store"},
	"raftnode/peerport":    {"tlsport", "api/rollcall/limits", "api/rollcall/log/v1", "api/rollcall/peer/v1", "store"},
	"raftnode/proposer":    {"api/rollcall/log/v1", "raftnode/peerport", "raftnode/workaround"},
	"raftnode/raftlogger":  {"raftnode/serveraddress"},
	// Pure decisions, without raft.
	"raftnode/reconciler":    {"api/rollcall/log/v1"},
	"raftnode/serveraddress": {},
	"raftnode/transport":     {"api/rollcall/log/v1", "api/rollcall/peer/v1", "raftnode/peerport", "raftnode/serveraddress", "raftnode/workaround"},
	"raftnode/workaround":    {},
	"raftnode/memnet":        {},
	"server": {"server/httpserver", "server/rest", "server/sse", "fsm/access", "server/authn", "server/authz", "tlsport", "api/rollcall/pattern", "api/rollcall/limits", "api/rollcall/v1", "api/rollcall/log/v1", "api/rollcall/convert", "api/rollcall/peer/v1", "server/auditlog", "server/budget", "server/connlimit", "server/deadline", "server/fence",
		"server/flowcontrol", "server/forward", "server/freshness", "server/inprocess", "server/peerconn", "server/ratelimit", "server/receive", "server/renewal", "server/rpcerror", "server/rpcstats"},
	"api/rollcall/accesstoken":    {},
	"server/authz":                {"api/rollcall/limits", "api/rollcall/log/v1", "api/rollcall/pattern", "api/rollcall/v1", "fsm/access", "server/authn", "server/rpcerror"},
	"server/authn":                {"api/rollcall/accesstoken", "api/rollcall/limits", "api/rollcall/log/v1", "server/freshness", "server/rpcerror", "tlsport"},
	"server/auditlog":             {},
	"server/ratelimit":            {},
	"server/budget":               {"server/rpcerror"},
	"server/connlimit":            {},
	"server/deadline":             {},
	"server/fence":                {"api/rollcall/v1", "server/rpcerror"},
	"server/flowcontrol":          {"server/budget", "server/rpcerror"},
	"server/forward":              {"api/rollcall/log/v1", "api/rollcall/peer/v1", "server/budget", "server/deadline", "server/fence", "server/peerconn", "server/rpcerror"},
	"server/freshness":            {"api/rollcall/peer/v1", "server/deadline", "server/fence", "server/peerconn", "server/rpcerror"},
	"server/httpserver":           {},
	"server/inprocess":            {},
	"server/sse":                  {"api/rollcall/apijson", "api/rollcall/v1", "server/budget", "server/freshness", "server/ratelimit", "server/rest", "server/rpcerror"},
	"server/rest":                 {"api/rollcall/apijson", "api/rollcall/rest/v1", "api/rollcall/v1", "server/auditlog", "server/authn", "server/budget", "server/httpserver", "server/inprocess", "server/rpcerror", "tlsport"},
	"server/peerconn":             {},
	"server/receive":              {"server/rpcerror"},
	"server/renewal":              {"api/rollcall/limits", "api/rollcall/log/v1", "api/rollcall/peer/v1", "server/fence", "server/peerconn"},
	"server/rpcerror":             {"fsm/access", "api/rollcall/convert", "api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1", "api/rollcall/log/v1"},
	"server/rpcstats":             {},
	"client":                      {"internal/connfailure", "client/internal/credential", "client/internal/renewal", "client/internal/writestream", "api/rollcall/accesstoken", "api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1"},
	"metrics":                     {},
	"node":                        {"certs", "tlsport", "api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1", "api/rollcall/log/v1", "api/rollcall/peer/v1", "fsm", "fsm/history", "store", "store/raftlog", "store/registry", "store/snapshot", "store/verify", "raftnode", "raftnode/peerport", "server", "server/auditlog", "server/authn", "server/connlimit", "server/httpserver", "server/rest", "server/rpcerror", "metrics", "node/audit", "node/expiry", "node/featurelevel", "node/lessor", "node/retention", "node/survivor", "web"},
	"web":                         {},
	"node/audit":                  {"api/rollcall/log/v1", "fsm", "raftnode", "store", "store/registry", "store/snapshot"},
	"node/survivor":               {"api/rollcall/log/v1", "fsm", "store", "store/raftlog", "store/registry", "store/snapshot", "store/vfs"},
	"node/retention":              {"api/rollcall/log/v1", "server/rpcerror", "store", "store/registry"},
	"node/expiry":                 {"api/rollcall/log/v1"},
	"node/lessor":                 {"api/rollcall/log/v1", "api/rollcall/peer/v1"},
	"node/featurelevel":           {"api/rollcall/log/v1"},
	"client/aware":                {"api/rollcall/v1", "client/view"},
	"client/balancer":             {},
	"client/checks":               {"api/rollcall/limits", "client", "internal/connfailure", "internal/duration"},
	"client/checks/host":          {"client/checks"},
	"client/healthserver":         {"internal/grpcstop", "client", "client/view", "api/rollcall/limits", "api/rollcall/v1"},
	"client/metrics":              {"client", "client/checks", "client/view"},
	"client/resolver":             {"api/rollcall/limits", "api/rollcall/v1", "client", "client/internal/halves", "client/view"},
	"client/view":                 {"api/rollcall/limits", "api/rollcall/v1", "client", "client/internal/halves"},
	"client/internal/halves":      {},
	"client/internal/credential":  {"api/rollcall/accesstoken"},
	"client/internal/writestream": {"api/rollcall/v1"},
	"client/internal/renewal": {
		"api/rollcall/limits", "api/rollcall/v1",
	},
	"agent/httpapi":       {"api/rollcall/limits", "api/rollcall/v1", "client", "client/checks", "client/view", "internal/duration"},
	"agent":               {"agent/config", "agent/httpapi", "agent/readinessgate", "api/rollcall/limits", "api/rollcall/v1", "certs", "client", "client/checks", "client/metrics", "client/view", "internal/grpcstop", "tlsport"},
	"agent/readinessgate": {"client"},
	"agent/config":        {"agent/readinessgate", "api/rollcall/limits", "client", "client/checks", "client/checks/host", "client/healthserver", "internal/duration"},
	"internal/duration":   {},
	"internal/grpcstop":   {},
	"cmd/rollcall": {
		"agent", "agent/config", "api/rollcall/apijson", "certs", "certs/issue", "tlsport", "api/rollcall/accesstoken", "api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1", "client", "node", "node/survivor", "metrics", "store", "store/snapshot", "store/verify", "store/vfs", "fsm/access",
		"cmd/rollcall/ballast", "cmd/rollcall/cliflag", "cmd/rollcall/devcluster", "cmd/rollcall/dial", "cmd/rollcall/explain", "cmd/rollcall/format", "cmd/rollcall/loadgen", "cmd/rollcall/plain", "cmd/rollcall/servicemanager", "cmd/rollcall/timeline", "cmd/rollcall/top", "internal/connfailure", "web",
	},
	"cmd/rollcall/ballast":        {},
	"cmd/rollcall/servicemanager": {},
	"deploy/systemd":              {},
	"deploy/package":              {},
	"deploy/docker":               {},
	"cmd/rollcall/cliflag":        {"api/rollcall/apijson", "api/rollcall/v1", "client", "node", "cmd/rollcall/format", "internal/duration"},
	"cmd/rollcall/devcluster":     {"cmd/rollcall/format"},
	"cmd/rollcall/dial":           {"internal/connfailure"},
	"cmd/rollcall/plain":          {"internal/connfailure"},
	"cmd/rollcall/explain":        {"api/rollcall/apijson", "api/rollcall/pattern", "api/rollcall/v1", "cmd/rollcall/format"},
	"cmd/rollcall/timeline":       {"api/rollcall/pattern", "api/rollcall/v1"},
	"cmd/rollcall/top":            {"api/rollcall/v1", "cmd/rollcall/format"},
	"cmd/rollcall/format":         {"api/rollcall/apijson", "api/rollcall/limits", "api/rollcall/v1"},
	"cmd/rollcall/loadgen":        {"api/rollcall/v1", "client", "internal/connfailure", "cmd/rollcall/dial", "cmd/rollcall/format"},
}

func TestImportArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(pkg.ImportPath, module)
		if name == "cluster_test" {
			continue
		}
		allowed, ok := rooms[name]
		if !ok {
			t.Errorf("package %s stands in no room: name it here and in docs/architecture.md", name)
			continue
		}
		seen[name] = true
		for _, imp := range pkg.Imports {
			if rest, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, rest) {
				t.Errorf("%s imports %s; it may import %v", name, rest, allowed)
			}
		}
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("room %s is gone", name)
		}
	}
}

// TestOnlyMetricsImportsPrometheus: who uses a package of the client gets no Prometheus with it, but with client/metrics.
func TestOnlyMetricsImportsPrometheus(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Deps", module+"client/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	with := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Deps       []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		imports := slices.ContainsFunc(pkg.Deps, func(d string) bool { return strings.HasPrefix(d, "github.com/prometheus/") })
		if pkg.ImportPath == module+"client/metrics" && imports {
			with++
		} else if imports {
			t.Errorf("%s brings Prometheus with it", pkg.ImportPath)
		}
	}
	if with != 1 {
		t.Error("client/metrics is not among the packages that were looked at")
	}
}
