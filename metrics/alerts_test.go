package metrics

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// alert is a rule that docs/alerts.yml and docs/metrics.md show.
type alert struct{ name, expr, lasts, meaning string }

var alerts = []alert{
	{"RollcallNodeDown", `up == 0 and on (job, instance) last_over_time(rollcall_build_info[1d])`, "1m", "a node does not answer: its process has ended, or it is cut off; with three, one more failure stops writes"},
	{"RollcallNoLeader", `max by (job) (rollcall_is_leader) == 0`, "30s", "no leader: writes are refused, reads go on. Two of three nodes must reach each other"},
	{"RollcallNotReady", `rollcall_ready == 0`, "2m", "this node is not ready: see /readyz?verbose and its log"},
	{"RollcallMemberAway", `rollcall_peer_up == 0 and on (instance) rollcall_is_leader == 1`, "1m", "a member is away; with three, one more failure stops writes"},
	{"RollcallMemberStays", `max by (job, member, phase) (rollcall_member_phase{phase=~"joining|leaving"}) == 1`, "15m", "a member joins or leaves, and that does not end: `rollcall status` says what it waits for; docs/members.md"},
	{"RollcallUpgradeIncomplete", `max by (job) (rollcall_feature_level_max) > min by (job) (rollcall_feature_level_max)`, "1d", "nodes of different versions, for a day: complete the upgrade; docs/operations.md, \"Upgrades and downgrades\""},
	{"RollcallCutOff", `rollcall_leader_contact_age_seconds > 10`, "0s", "this node is cut off: what it shows may be old"},
	{"RollcallLeadersChange", `increase(rollcall_leader_changes_total[10m]) > 3`, "0s", "leaders come and go: slow disks or a bad network"},
	{"RollcallDiskSlow", `histogram_quantile(0.99, rate(rollcall_raft_store_duration_seconds_bucket[5m])) > 0.3`, "0s", "the disk is near the heartbeat timeout of 600 ms"},
	{"RollcallDiskFull", `rollcall_disk_free_bytes < 4 * (rollcall_registry_file_bytes + rollcall_log_bytes)`, "5m", "a snapshot and a backup need room for copies of the registry file: make room"},
	{"RollcallSnapshotOld", `rollcall_last_snapshot_age_seconds > 604800 and on (instance) delta(rollcall_commit_index[7d]) > 20000`, "1h", "no snapshot for a week of changes: the log only grows; see the node's log"},
	{"RollcallBehind", `rollcall_lag_entries > 1000`, "1m", "this node applies more slowly than the cluster writes"},
	{"RollcallRegistryFileBehind", `rollcall_registry_backlog_bytes > 64e6`, "0s", "the registry file cannot keep up; from 64 MiB on a leader takes no more than it stores; at 128 MiB applying waits for the disk, and a disk that makes no progress for 30 s ends the node"},
	{"RollcallRuleBroken", `rollcall_rule_serving < rollcall_rule_needed`, "5m", "a safety rule does not hold: fewer services of its pattern are SERVING than it needs; `rollcall rule list` says which, and `rollcall why SERVICE` why"},
	{"RollcallBreakGlass", `increase(rollcall_break_glass_total[5m]) > 0`, "0s", "somebody broke a safety rule on purpose: `rollcall events` says who and why"},
	{"RollcallLeasesHeld", `max by (job) (rollcall_lease_guard_engaged) > 0`, "0s", "very many reporters are late at once, so no lease expires, for an hour at most: find out what lies between them and the nodes; docs/operations.md, \"Leases are held\""},
	{"RollcallLeasesLate", `sum by (job) (rollcall_leases_late) > 0.1 * max by (job) (rollcall_leases)`, "1m", "more than a tenth of all leases are late: reporters die or cannot reach the nodes, and their services turn to NOT_SERVING; `rollcall lease list` says which"},
	{"RollcallReplicasDiffer", `increase(rollcall_state_hashes_compared_total{result="mismatched"}[10m]) > 0`, "0s", "replicas differ: see docs/guarantees.md"},
	{"RollcallClockOff", `abs(rollcall_clock_offset_seconds) > 0.5`, "1m", "the clock of that member is off; the cluster's time does not follow one wrong clock of three, but two are another matter: mend its time service"},
	{"RollcallAuditLinesLost", `increase(rollcall_audit_dropped_total{why="not-written"}[5m]) > 0`, "0s", "the audit log cannot be written, and has lost lines: make room on its disk; the node's log says why"},
	{"RollcallManyRefusedCalls", `increase(rollcall_audit_dropped_total{why="too-many"}[5m]) > 0`, "0s", "somebody makes very many calls that are refused: the lines before in the audit log say who"},
	{"RollcallLoginsFail", `sum by (instance) (increase(rollcall_auth_failures_total[5m])) > 100`, "0s", "many calls show a token that is none: a client with an old token, or somebody who guesses; the audit log has the addresses"},
	{"RollcallManyDenied", `sum by (job, verb) (increase(rollcall_denied_total[5m])) > 100`, "0s", "many calls of callers that may not make them: a grant is missing, or somebody tries what they can do; the audit log says who"},
	{"RollcallTokensNearLimit", `max by (job) (rollcall_tokens) > 9000`, "0s", "there are at most 10,000 tokens: revoke those that nobody needs; `rollcall token list`"},
	{"RollcallRateLimited", `increase(rollcall_rate_limited_total[5m]) > 0`, "10m", "somebody makes more changes than `--writes-per-second`: the audit log says who"},
	{"RollcallCertificateEnds", `rollcall_tls_certificate_expiry_timestamp_seconds - time() < 7 * 86400`, "1h", "a certificate expires within a week: put a new one into its file, the node takes it without a restart. For certificates that live for days, ask for less"},
	{"RollcallCertificateRefused", `increase(rollcall_tls_reloads_total{result="refused"}[5m]) > 0`, "0s", "a new certificate is wrong, and the old one stays until it expires: the node's log says what is wrong"},
	{"RollcallMembersDistrusted", `increase(rollcall_tls_handshakes_failed_total{port="peer"}[5m]) > 0`, "5m", "a member shows this node a wrong certificate, or somebody knocks at the port for members: the node's log says what is wrong"},
	{"RollcallClientsRefused", `increase(rollcall_client_memory_refused_total[5m]) > 0`, "0s", "clients ask for more at once than the node holds for them, or do not read what they asked for: find who, or raise `--client-memory`"},
	{"RollcallClientMemoryNearLimit", `rollcall_client_memory_used_bytes / rollcall_client_memory_limit_bytes > 0.9`, "5m", "soon calls are refused: clients ask for much at once, or do not read what they asked for; find who, or raise `--client-memory`"},
	{"RollcallConnectionsNearLimit", `rollcall_connections / rollcall_connections_limit > 0.9`, "5m", "soon connections are refused: find who opens so many, or raise the limit"},
	{"RollcallWatchesNearLimit", `rollcall_watches / rollcall_watches_limit > 0.9`, "5m", "soon watches are refused: find who opens so many, or raise `--max-watches`"},
}

func alertRows() string {
	var b strings.Builder
	for _, a := range alerts {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.expr, a.lasts, a.meaning)
	}
	return b.String()
}

// alertRules is docs/alerts.yml.
func alertRules() string {
	var b strings.Builder
	b.WriteString("# Generated: go test ./metrics -run 'TestAlerts' -update\ngroups:\n- name: rollcall\n  rules:\n")
	for _, a := range alerts {
		fmt.Fprintf(&b, "  - alert: %s\n    expr: '%s'\n    for: %s\n    annotations:\n      summary: %q\n", a.name, a.expr, a.lasts, a.meaning)
	}
	return b.String()
}

const alertsPath = "../docs/alerts.yml"

// TestAlerts compares docs/alerts.yml with the rules above, and has promtool check it where promtool is there.
func TestAlerts(t *testing.T) {
	if *update {
		if err := os.WriteFile(alertsPath, []byte(alertRules()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(alertsPath); err != nil || string(have) != alertRules() {
		t.Errorf("%s is not what the rules say: go test ./metrics -run TestAlerts -update (%v)", alertsPath, err)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return // TestAlertsAreOfMetricsThatExist still looks at them
	}
	if out, err := exec.Command(promtool, "check", "rules", alertsPath).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestAlertsAreOfMetricsThatExist: a rule of a metric that nobody exposes never fires.
func TestAlertsAreOfMetricsThatExist(t *testing.T) {
	m := New("v0")
	m.Collect(full)
	everythingOfRaft(t, m)
	exposed := map[string]bool{}
	for _, f := range ours(t, m) {
		exposed[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			exposed[f.GetName()+"_bucket"] = true
		}
	}
	for _, a := range alerts {
		names := regexp.MustCompile(`rollcall_\w+`).FindAllString(a.expr, -1)
		if len(names) == 0 {
			t.Errorf("%s asks for no metric", a.name)
		}
		for _, name := range names {
			if !exposed[name] {
				t.Errorf("%s: nobody exposes %s", a.name, name)
			}
		}
		if strings.Count(a.expr, "(") != strings.Count(a.expr, ")") || strings.Contains(a.expr, "`") {
			t.Errorf("%s: %s", a.name, a.expr)
		}
	}
}
