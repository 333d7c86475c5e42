package grafana_test

// A panel is one picture of the dashboard. Its description says what to do, not only what it shows.
type panel struct {
	title, unit, description string
	series                   []series
	// stat panels show the newest value, coloured from the first of bad on.
	stat     bool
	bad      []threshold
	mappings map[string]string
}

// A series is an expression and its legend. "@" stands for the labels of the cluster and the nodes that are chosen,
// "@@" for those of the cluster alone.
type series struct{ expr, legend string }

type threshold struct {
	color string
	from  float64
}

type row struct {
	title  string
	panels []panel
}

var yesNo = map[string]string{"0": "no", "1": "yes"}

var rows = []row{
	{"Overview", []panel{
		{title: "Nodes that are ready", stat: true, unit: "none", bad: []threshold{{"red", 0}, {"green", 2}},
			description: "How many nodes are ready, and how many Prometheus scrapes. If fewer are ready than scraped: `rollcall status` names the node and the reason; docs/operations.md, \"A member is away\".",
			series:      []series{{`sum(rollcall_ready{@@})`, "ready"}, {`count(rollcall_build_info{@@})`, "scraped"}}},
		{title: "Leaders", stat: true, unit: "none", bad: []threshold{{"red", 0}, {"green", 1}},
			description: "How many nodes lead. 0 for longer than some seconds: changes are refused, see docs/operations.md, \"Changes are refused\". 2 for a moment is a leader that does not know yet that it was followed by another; it acknowledges nothing.",
			series:      []series{{`sum(rollcall_is_leader{@@})`, "leaders"}}},
		{title: "Nodes that know a leader", stat: true, unit: "none", bad: []threshold{{"red", 0}, {"green", 2}},
			description: "The quorum: if a majority knows no leader, changes are refused, and reads and watches go on. Bring back the members that `rollcall status` marks with \"!\", or the network between them.",
			series:      []series{{`sum(rollcall_leader_known{@@})`, "know a leader"}}},
		{title: "Services that an override decides", stat: true, unit: "none", bad: []threshold{{"green", 0}, {"orange", 1}},
			description: "Somebody decided the status of these services by hand, whatever their owners report. `rollcall override list` says who and why; clear what is not needed any more.",
			series:      []series{{`max by (status) (rollcall_overridden_services{@@})`, "{{status}}"}}},
		{title: "Safety rules that are broken", stat: true, unit: "none", bad: []threshold{{"green", 0}, {"red", 1}},
			description: "Fewer services are SERVING than a rule needs. `rollcall rule list` says which rule, `rollcall why SERVICE` why; docs/operations.md, \"A rule refuses a change\".",
			series:      []series{{`count(max by (rule) (rollcall_rule_serving{@@}) < max by (rule) (rollcall_rule_needed{@@})) or vector(0)`, "broken"}}},
		{title: "Leases held by the guard", stat: true, unit: "none", mappings: yesNo, bad: []threshold{{"green", 0}, {"red", 1}},
			description: "Very many reporters are late at once, so no lease expires, for an hour at most. Find out what lies between the reporters and the nodes: docs/operations.md, \"Leases are held\".",
			series:      []series{{`max(rollcall_lease_guard_engaged{@@})`, "held"}}},
		{title: "Services by reported status", unit: "none",
			description: "What the owners report. Many that turn NOT_SERVING at once: look at the leases below, then at `rollcall events`. What overrides show instead is in the panel above.",
			series:      []series{{`max by (status) (rollcall_services{@@})`, "{{status}}"}}},
		{title: "Who leads", unit: "none",
			description: "1 for the node that leads. If this changes often, look at the disks (\"Time to append\") and at the network between the nodes.",
			series:      []series{{`rollcall_is_leader{@}`, "{{instance}}"}}},
		{title: "Members that cannot be reached", unit: "none",
			description: "1 for each member that the leader cannot reach. With three nodes, one more failure stops changes: do not wait. docs/operations.md, \"A member is away\".",
			series:      []series{{`1 - (rollcall_peer_up{@@} and on (instance) rollcall_is_leader{@@} == 1)`, "{{member}}"}}},
		{title: "Versions and feature levels", unit: "none",
			description: "The feature level of the cluster, and the highest that each node can read. Nodes that differ for long: an upgrade is not complete. docs/operations.md, \"Upgrades and downgrades\".",
			series:      []series{{`max(rollcall_feature_level{@@})`, "cluster"}, {`rollcall_feature_level_max{@} * on (job, instance) group_left (version) rollcall_build_info{@}`, "{{instance}} {{version}}"}}},
	}},
	{"Writes", []panel{
		{title: "Changes per second", unit: "ops",
			description: "Changes that clients make over each node, refused ones too. A client that writes in a loop shows here; `rollcall events` says who.",
			series:      []series{{`rate(rollcall_write_duration_seconds_count{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Time of a change", unit: "s",
			description: "What a client waits for: the way to the leader and the commit. If it grows, compare it with \"Time to append\" (the disk) and \"Time until members answer\" (the network).",
			series: []series{
				{`histogram_quantile(0.5, sum by (le) (rate(rollcall_write_duration_seconds_bucket{@}[$__rate_interval])))`, "half of them"},
				{`histogram_quantile(0.99, sum by (le) (rate(rollcall_write_duration_seconds_bucket{@}[$__rate_interval])))`, "99 of 100"},
				{`histogram_quantile(0.999, sum by (le) (rate(rollcall_write_duration_seconds_bucket{@}[$__rate_interval])))`, "999 of 1,000"}}},
		{title: "Time from proposal to applied, on the leader", unit: "s",
			description: "The part of a change that raft takes. Near the time of a change: the disk or the followers. Far below it: the way to the leader.",
			series: []series{
				{`histogram_quantile(0.5, sum by (le) (rate(rollcall_raft_commit_duration_seconds_bucket{@@}[$__rate_interval])))`, "half of them"},
				{`histogram_quantile(0.99, sum by (le) (rate(rollcall_raft_commit_duration_seconds_bucket{@@}[$__rate_interval])))`, "99 of 100"}}},
		{title: "Calls that failed, by code", unit: "ops",
			description: "Unavailable: no leader, or a node stops. ResourceExhausted: a limit, see \"Access and limits\". PermissionDenied and Unauthenticated: the audit log says who. NotFound and Canceled are ordinary.",
			series:      []series{{`sum by (code) (rate(rollcall_rpcs_total{@,code!="OK"}[$__rate_interval]))`, "{{code}}"}}},
		{title: "Changes that were refused", unit: "ops",
			description: "Refused for what the caller may not do (by verb), and because it makes too many. The audit log says who. `rollcall auth can` says what an identity may do.",
			series: []series{
				{`sum by (verb) (rate(rollcall_denied_total{@}[$__rate_interval]))`, "denied: {{verb}}"},
				{`sum(rate(rollcall_rate_limited_total{@}[$__rate_interval]))`, "too many in a second"}}},
		{title: "Changes in one log entry", unit: "none",
			description: "How many changes share one write to disk, on the leader. It grows with the load; that is what keeps changes fast on a slow disk.",
			series:      []series{{`sum(rate(rollcall_raft_entry_commands_sum{@@}[$__rate_interval])) / sum(rate(rollcall_raft_entry_commands_count{@@}[$__rate_interval]))`, "mean"}}},
		{title: "Rules that were broken on purpose", unit: "none",
			description: "Changes with break_glass in the last hour. `rollcall events` says who and why: talk to them.",
			series:      []series{{`max(increase(rollcall_break_glass_total{@@}[1h]))`, "in the last hour"}}},
	}},
	{"Reads and watches", []panel{
		{title: "Calls per second, by method", unit: "ops",
			description: "What clients ask, without the calls between nodes. Very many Checks of one client: it should watch instead (docs/clients.md).",
			series:      []series{{`topk(10, sum by (method) (rate(rollcall_rpcs_total{@,method!~"rollcall.peer.*"}[$__rate_interval])))`, "{{method}}"}}},
		{title: "Time until a linearizable read is sure", unit: "s",
			description: "Linearizable reads ask the leader and its followers. If they are slow, the network is, or the leader has too much to do; other reads do not wait for this.",
			series: []series{
				{`histogram_quantile(0.5, sum by (le) (rate(rollcall_linearizable_read_duration_seconds_bucket{@}[$__rate_interval])))`, "half of them"},
				{`histogram_quantile(0.99, sum by (le) (rate(rollcall_linearizable_read_duration_seconds_bucket{@}[$__rate_interval])))`, "99 of 100"}}},
		{title: "Open watches, and their limit", unit: "none",
			description: "Watches of all kinds by node; the page has one in each browser tab. Near the limit, new ones are refused: find who opens so many, or raise `--max-watches`.",
			series:      []series{{`rollcall_watches{@}`, "{{instance}}"}, {`min(rollcall_watches_limit{@})`, "limit"}}},
		{title: "Open watches, by kind", unit: "none",
			description: "Which kind grows says which client: single services are gRPC health clients, states are balancers and the page, events are the page, tools and audits.",
			series: []series{
				{`sum(rollcall_watchers{@})`, "single services"}, {`sum(rollcall_state_watchers{@})`, "states of many services"}, {`sum(rollcall_event_watchers{@})`, "events"},
				{`sum(rollcall_lease_streams{@})`, "renewals of leases"}, {`sum(rollcall_write_streams{@})`, "streams of writes"}}},
		{title: "Watchers woken per second", unit: "ops",
			description: "How often a change wakes the watchers of a service. A service that flips shows here: `rollcall events` says which.",
			series:      []series{{`rate(rollcall_wakes_total{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Age of what a node shows", unit: "s",
			description: "Time since a node last heard from a leader. Above 10 s the node is cut off, and what it shows may be old: docs/operations.md, \"Reads are old\".",
			series:      []series{{`rollcall_leader_contact_age_seconds{@}`, "{{instance}}"}}},
	}},
	{"Raft and disk", []panel{
		{title: "Time to append to the log", unit: "s",
			description: "The disk, fsync included. Heartbeats wait for it: near 0.3 s leaders begin to change. Find what else uses the disk: docs/operations.md, \"The disk\".",
			series:      []series{{`histogram_quantile(0.99, sum by (le, instance) (rate(rollcall_raft_store_duration_seconds_bucket{@}[$__rate_interval])))`, "{{instance}}, 99 of 100"}}},
		{title: "Time until members answer the leader", unit: "s",
			description: "One slow member does no harm while the others are a majority. All slow: the network, or the leader itself.",
			series:      []series{{`histogram_quantile(0.99, sum by (le, member, rpc) (rate(rollcall_raft_peer_rpc_duration_seconds_bucket{@@}[$__rate_interval])))`, "{{member}} {{rpc}}, 99 of 100"}}},
		{title: "Leaders that came and went", unit: "none",
			description: "In the last ten minutes. More than three: slow disks or a bad network. `rollcall status` names who cannot connect to whom.",
			series: []series{
				{`increase(rollcall_leader_changes_total{@}[10m])`, "{{instance}} saw another"},
				{`increase(rollcall_raft_lease_timeouts_total{@}[10m])`, "{{instance}} stopped to lead"},
				{`increase(rollcall_raft_heartbeat_timeouts_total{@}[10m])`, "{{instance}} heard none"}}},
		{title: "Entries not applied yet", unit: "none",
			description: "How far each node is behind what it knows to be committed. Thousands for minutes: this node is too slow, look at its CPU and disk.",
			series:      []series{{`rollcall_lag_entries{@}`, "{{instance}}"}}},
		{title: "How busy raft's goroutines are", unit: "percentunit",
			description: "Near 100 %, main delays heartbeats and fsm delays reads of one's own writes: fewer writes, or a faster machine.",
			series:      []series{{`rollcall_raft_thread_saturation_ratio{@}`, "{{instance}} {{thread}}"}}},
		{title: "Free on the disk, and what a snapshot and a backup need", unit: "bytes",
			description: "Below the need, make room: a snapshot and a backup are copies of the registry file. A disk that is full stops the node.",
			series:      []series{{`rollcall_disk_free_bytes{@}`, "{{instance}} free"}, {`4 * max(rollcall_registry_file_bytes{@} + rollcall_log_bytes{@})`, "needed"}}},
		{title: "Data on the disk", unit: "bytes",
			description: "A log that only grows: no snapshot is taken, see the node's log. A registry that grows: `--history-events` bounds the history.",
			series:      []series{{`rollcall_registry_file_bytes{@}`, "{{instance}} registry"}, {`rollcall_log_bytes{@}`, "{{instance}} log"}, {`rollcall_snapshots_bytes{@}`, "{{instance}} snapshots"}}},
		{title: "Not written to the registry file yet", unit: "bytes",
			description: "From 64 MiB on the leader takes no more than it stores. At 128 MiB applying waits for the disk. Find what else uses the disk.",
			series:      []series{{`rollcall_registry_backlog_bytes{@}`, "{{instance}}"}}},
		{title: "Time to write a backlog to the registry file", unit: "s",
			description: "It may be long without harm, as long as the backlog above does not grow.",
			series:      []series{{`histogram_quantile(0.99, sum by (le, instance) (rate(rollcall_registry_flush_duration_seconds_bucket{@}[$__rate_interval])))`, "{{instance}}, 99 of 100"}}},
		{title: "Age of the newest snapshot", unit: "s",
			description: "A cluster that changes little takes few snapshots. No snapshot for a week of many changes: see the node's log.",
			series:      []series{{`rollcall_last_snapshot_age_seconds{@}`, "{{instance}}"}}},
		{title: "State hashes that differ", unit: "none",
			description: "Anything but 0: replicas hold different data. Read docs/operations.md, \"Replicas that differ\", now.",
			series:      []series{{`sum by (instance) (increase(rollcall_state_hashes_compared_total{@,result="mismatched"}[1h]))`, "{{instance}}"}}},
		{title: "Events in the history", unit: "none",
			description: "What `--history-events` bounds. How far back `rollcall history` and reads \"as of\" can go is this, divided by the changes in a second.",
			series:      []series{{`rollcall_history_events{@}`, "{{instance}}"}}},
	}},
	{"Leases", []panel{
		{title: "Leases", unit: "none",
			description: "Leases that live, and those that are late. Many late ones: reporters die or cannot reach the nodes. `rollcall lease list` says which.",
			series:      []series{{`max(rollcall_leases{@@})`, "leases"}, {`max(rollcall_leases_late{@@})`, "late"}}},
		{title: "Renewals per second", unit: "ops",
			description: "Renewals that the leader acknowledged. A sudden fall: reporters stopped, or cannot reach a leader.",
			series:      []series{{`sum(rate(rollcall_lease_renewals_total{@@}[$__rate_interval]))`, "renewals"}}},
		{title: "Leases that expired", unit: "none",
			description: "Per minute. Their services are NOT_SERVING now: `rollcall events --type lease-expired` says which.",
			series:      []series{{`max(increase(rollcall_leases_expired_total{@@}[1m]))`, "in a minute"}}},
	}},
	{"Members and clocks", []panel{
		{title: "Members by phase", unit: "none",
			description: "joining and leaving end by themselves, within a minute with 100,000 services. One that stays: `rollcall status` says what it waits for (docs/members.md).",
			series:      []series{{`count by (phase) (max by (member, phase) (rollcall_member_phase{@@}) == 1)`, "{{phase}}"}}},
		{title: "Members that join or leave", unit: "none",
			description: "Which members they are.",
			series:      []series{{`max by (member, phase) (rollcall_member_phase{@@,phase=~"joining|leaving"})`, "{{member}} {{phase}}"}}},
		{title: "Clocks", unit: "s",
			description: "How far each member's clock is from the cluster's. Above 0.5 s mend its time service: docs/operations.md, \"Clocks\".",
			series:      []series{{`max by (member) (rollcall_clock_offset_seconds{@})`, "{{member}}"}}},
	}},
	{"Access and limits", []panel{
		{title: "Calls with a token that proves nothing", unit: "ops",
			description: "A client with an old token, or somebody who guesses. The audit log has the addresses.",
			series:      []series{{`sum by (reason) (rate(rollcall_auth_failures_total{@}[$__rate_interval]))`, "{{reason}}"}}},
		{title: "Tokens", unit: "none",
			description: "Expired ones count too; there are at most 10,000. `rollcall token list` says whose they are; revoke what nobody needs.",
			series:      []series{{`max(rollcall_tokens{@@})`, "tokens"}}},
		{title: "Lines that the audit log lost", unit: "none",
			description: "not-written: make room on its disk, the node's log says why. too-many: somebody makes very many calls that are refused, the lines before say who.",
			series:      []series{{`sum by (instance, why) (increase(rollcall_audit_dropped_total{@}[5m]))`, "{{instance}} {{why}}"}}},
		{title: "Connections, of what is allowed", unit: "percentunit",
			description: "Near 100 % connections are refused. Find who opens so many, or raise `--max-connections`, `--max-http-connections`, or the system's limit on open files.",
			series:      []series{{`rollcall_connections{@} / rollcall_connections_limit{@}`, "{{instance}} {{port}}"}}},
		{title: "Memory held for clients, of what is allowed", unit: "percentunit",
			description: "Near 100 % calls are refused. Clients ask for more at once than the node holds for them, or do not read what they asked for: find who, or raise `--client-memory`.",
			series:      []series{{`rollcall_client_memory_used_bytes{@} / rollcall_client_memory_limit_bytes{@}`, "{{instance}} {{budget}}"}}},
		{title: "Calls refused for memory", unit: "ops",
			description: "By budget. docs/operations.md, \"Clients are refused\", says what each is.",
			series:      []series{{`sum by (budget) (rate(rollcall_client_memory_refused_total{@}[$__rate_interval]))`, "{{budget}}"}}},
		{title: "Memory of the node", unit: "bytes",
			description: "Resident memory. It follows the number of services and watches; one that grows with neither is worth a heap profile (docs/operations.md, \"Looking inside\").",
			series:      []series{{`process_resident_memory_bytes{@}`, "{{instance}}"}}},
		{title: "CPU of the node", unit: "none",
			description: "Cores in use. Compare with \"Calls per second\": many calls of one client cost what many clients cost.",
			series:      []series{{`rate(process_cpu_seconds_total{@}[$__rate_interval])`, "{{instance}}"}}},
	}},
	{"Certificates", []panel{
		{title: "Time until certificates expire", unit: "s",
			description: "Put a new one into its file, and the node takes it without a restart: docs/security.md. Nothing here: the nodes speak plain text.",
			series:      []series{{`rollcall_tls_certificate_expiry_timestamp_seconds{@} - time()`, "{{instance}} {{use}}"}}},
		{title: "Certificates taken and refused", unit: "none",
			description: "refused: the new file is wrong, and the old certificate stays until it expires. The node's log says what is wrong.",
			series:      []series{{`increase(rollcall_tls_reloads_total{@}[1h])`, "{{instance}} {{result}}"}}},
		{title: "Connections refused for TLS", unit: "ops",
			description: "By port and reason. On the port peer, a member has a wrong certificate: that node's log says what is wrong with it. On the others, clients do.",
			series:      []series{{`sum by (port, reason) (rate(rollcall_tls_handshakes_failed_total{@}[$__rate_interval]))`, "{{port}} {{reason}}"}}},
	}},
}
