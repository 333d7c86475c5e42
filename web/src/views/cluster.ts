// The cluster as the node that answers sees it: members, problems, rules, overrides, limits.

import { get, headers } from "../api";
import { askCluster, onCluster, standing } from "../cluster";
import { clearOverrideDialog, overrideDialog, releaseGuardDialog, removeRuleDialog, ruleDialog, shutdownDialog, transferDialog } from "../dialogs";
import { asks } from "../dialog/rule";
import { p } from "../dialog/fields";
import { h, type Child } from "../dom";
import { bytes, number, plural, statusBadge, time } from "../format";
import { may } from "../me";
import { patch } from "../patch";
import type { ClusterStatus, LeaseGuard, MemberStatus, Override, Rule } from "../types";
import { printable } from "../words/text";
import { distance } from "../words/rule";
import { remaining, twoUnits } from "../words/time";
import type { Ctx } from "../view";
import { button, by, command, ends, facts, section, spoken, table, type Fact } from "./parts";

const every = 2_000, seldom = 10_000; // ms

// What is asked for more seldom than the status; what is undefined is not known.
interface Layers {
  rules?: Rule[];
  overrides?: Override[];
  guard?: LeaseGuard | null;
  gauges?: Record<string, number>; // of this node
  may: Record<string, boolean>;
}

type Change = (dialog: () => Promise<boolean>) => () => void;

export function mount(root: HTMLElement, _params: URLSearchParams, _ctx: Ctx): () => void {
  const l: Layers = { may: {} };
  const title = h("h1", null, "Cluster");
  const el = h("div");
  root.append(h("div", { class: "view" }, title, el));
  let asked = 0;

  const draw = () => patch(el, h("div", null, ...page(l, change)));
  const ask = async () => {
    if (document.hidden) return;
    asked = Date.now();
    const known = <T>(asking: Promise<T>) => asking.catch(() => undefined);
    const [rules, overrides, leases, gauges] = await Promise.all([
      known(get<{ rules: Rule[] }>("rules")), known(get<{ overrides: Override[] }>("overrides")),
      known(get<{ guard?: LeaseGuard }>("leases", { page_size: 1 })), known(metrics()),
      ...["cluster", "rules", "override", "report"].map(async (verb) => { l.may[verb] = await may(verb); }),
    ] as const);
    Object.assign(l, { rules: rules?.rules, overrides: overrides?.overrides, guard: leases && (leases.guard ?? null), gauges });
    draw();
  };
  const change: Change = (dialog) => () => void dialog().then((made) => {
    if (made) void ask(), void askCluster();
  });

  const off = onCluster(draw);
  const timer = setInterval(() => {
    void askCluster();
    if (Date.now() - asked >= seldom) void ask();
  }, every);
  void askCluster();
  void ask();
  return () => { off(); clearInterval(timer); };
}

// metrics reads what this node alone knows.
async function metrics(): Promise<Record<string, number>> {
  const res = await fetch("/metrics", { headers: headers() });
  const lines = (await res.text()).matchAll(/^rollcall_((?:watch|connections|tls_cert)\S*) (\S+)$/gm);
  return Object.fromEntries(Array.from(lines, (m) => [m[1], +m[2]!]));
}

function page(l: Layers, change: Change): Child[] {
  const { status: c, at, error } = standing();
  const old = error && h("p", { class: "panel bad", role: "alert" }, `▲ ${error.message}. `, ...(c ? ["What follows is of ", time(new Date(at).toISOString(), true), "."] : []));
  if (!c) return [old || p("…")];
  const used = (now: string, most: string) => l.gauges?.[now] === undefined ? "unknown" : `${number(l.gauges[now]!)} of ${number(l.gauges[most] ?? 0)}`;
  const port = (name: string) => used(`connections{port="${name}"}`, `connections_limit{port="${name}"}`);
  return [
    old,
    facts(
      ["Cluster", c.cluster_id || "none yet"],
      ["Leader", `${c.leader || "▲ none"} (term ${c.term})`, c.leader ? "" : "error"],
      ["Revision", number(c.revision)],
      ["Changes", c.writable ? "are taken" : "▲ are refused", c.writable ? "" : "error"],
      ["Feature level", c.level + (c.level_held && ": " + printable(c.level_held))],
      ["Access", c.access_enforced ? "is enforced" : "is not enforced: everybody may do everything"],
      ["Asked", c.node],
    ),
    !c.leader && c.cluster_id && alone(c),
    section("Problems", c.problems.length
      ? h("ul", { class: "panel bad" }, ...c.problems.map((text) => h("li", { "data-test": "problem" }, ...spoken(text))))
      : p("● None is known.")),
    section("Members",
      h("div", { class: "cards" }, ...c.members.map((m) => card(m, m.member.name === c.node ? l.gauges : undefined))),
      l.may.cluster && c.members.length > 1 && p(button("Hand leadership over", "", "", change(() => transferDialog(standing().status!)))),
      h("details", { "data-key": "d" }, h("summary", null, "Add, replace, promote or remove a member"), ...["add NAME --peer HOST:PORT", "replace NAME", "promote NAME", "remove NAME"].map((verb) =>
        p(command(`rollcall member ${verb} --reason WHY`))))),
    section("Rules", listed(l.rules, "No rule binds changes.", (list) => table("Rules", ["Rule", "Asks for", "Now", "Set by", ""], list.map((r) => [
      printable(r.name), asks(r), h("span", { class: r.serving < r.needed && "error" }, r.serving < r.needed && "▲ ", distance(r)), by(r),
      l.may.rules && h("span", null, button("Change", r.name, r.revision, change(() => ruleDialog(r))), button("Remove", r.name, r.revision, change(() => removeRuleDialog(r)))),
    ]))), l.may.rules && button("Add a rule", "", "", change(ruleDialog))),
    section("Overrides", listed(l.overrides, "Nothing decides over what is reported.", (list) => table("Overrides", ["Pattern", "Status", "Ends", "Set by", ""], list.map((o) => [
      printable(o.pattern), statusBadge(o.status), o.expire_time ? time(o.expire_time) : "without end", by(o),
      l.may.override && button("End", o.pattern, o.revision, change(() => clearOverrideDialog(o))),
    ]))), l.may.override && h("span", null, button("Set an override", "", "", change(() => overrideDialog(""))), button("Shut the registry down", "", "", change(() => shutdownDialog(""))))),
    section("Leases", l.guard?.engaged
      ? h("p", { class: "error" }, "▲ The lease guard holds all since ", time(l.guard.time), `: ${number(l.guard.late)} of ${number(l.guard.live)} were late. Are their reporters dead, or can they not reach the cluster? `,
        l.may.report && button("Release the guard", "", "", change(releaseGuardDialog)))
      : p(l.guard === undefined ? "unknown" : "The lease guard holds none.")),
    section("Limits of " + c.node, facts(["Watches", used("watches", "watches_limit")], ["API connections", port("api")], ["HTTP connections", port("http")])),
  ];
}

// alone says what it means that there is no leader, and what to do (docs/night.md).
function alone(c: ClusterStatus): HTMLElement {
  const voters = c.members.filter((m) => m.member.voter);
  const silent = voters.filter((m) => !m.start_time).map((m) => m.member.name);
  const age = c.members.find((m) => m.member.name === c.node)?.leader_age_seconds;
  return h("section", { class: "panel bad" }, h("h2", null, "▲ No leader: nothing can be changed"),
    p(`Reads go on. ${c.node} shows what it knew ${age === undefined ? "when it last heard a leader" : remaining(age) + " ago, when it last heard a leader"}. No override and no lease ends meanwhile.`),
    p(`${Math.floor(voters.length / 2) + 1} of ${plural(voters.length, "voter")} must run and reach each other. ${silent.length ? "No answer from " + silent.join(", ") + "." : ""}`),
    h("ol", null,
      h("li", null, "Start the silent ones again, with their data directories: then all goes on by itself."),
      h("li", null, "Only if too many are lost for good: stop the rest, and see which directory is best: ", command("rollcall recover --inspect DIRECTORY...")),
      h("li", null, "Make a new cluster of it: ", command("rollcall recover --data DIRECTORY"), " docs/night.md shows all steps.")));
}

function card(m: MemberStatus, gauges: Layers["gauges"]): HTMLElement {
  const { name, phase, voter, phase_detail, api_address, peer_address } = m.member;
  const end = gauges?.['tls_certificate_expiry_timestamp_seconds{use="certificate"}'];
  return h("article", { class: "panel", "data-test": "cluster-node", "data-key": name },
    h("h3", null, name + " ", h("span", { class: "muted" }, m.role)),
    m.error && h("p", { class: "error" }, "▲ ", ...spoken(m.error)),
    facts(
      ["Ready", m.ready ? "● yes" : "▲ no", m.ready ? "s-serving" : "error"],
      ["Phase", (phase ?? (voter ? "voter" : "unknown")) + (phase_detail ? ": " + printable(phase_detail) : "")],
      ...(m.start_time ? told(m, m.certificate_expires ?? (end && new Date(end * 1000).toISOString())) : [["All else", undefined] as Fact]),
      ["API", api_address], ["Peers", peer_address],
    ));
}

// told is what a member that answers said of itself.
function told(m: MemberStatus, certificate: string | undefined | 0): Fact[] {
  const s = m.storage, off = m.clock_offset_seconds, heard = m.leader_age_seconds;
  return [
    ["Revision", number(m.revision)],
    ["Lag", plural(m.lag_entries, "entry", "entries")],
    ["Term", m.term],
    ["Heard a leader", m.role === "leader" ? "leads" : heard === undefined ? heard : twoUnits(heard) + " ago"],
    ["Clock", off === undefined ? off : Math.abs(off) < 0.001 ? "right" : `${twoUnits(Math.abs(off))} ${off < 0 ? "behind" : "ahead"}`],
    ["Certificate", certificate ? ends(certificate) : undefined],
    ["Version", m.version],
    ["Feature level", `up to ${m.max_level}` + (m.hold_level ? `, held at ${m.hold_level}` : "")],
    ["Runs for", remaining((Date.now() - Date.parse(m.start_time!)) / 1000)],
    ["Disk", s && `registry ${bytes(s.registry_bytes)}, log ${bytes(s.log_bytes)}, snapshots ${bytes(s.snapshot_bytes)}`],
    ["Free", s?.free_bytes === undefined ? undefined : bytes(s.free_bytes)],
    ["Directory", m.member.directory_id || undefined],
    ["Cannot reach", m.cannot_reach.join(", ") || "–", m.cannot_reach.length ? "error" : ""],
  ];
}

function listed<T>(list: T[] | undefined, none: string, show: (list: T[]) => HTMLElement): HTMLElement {
  return list?.length ? show(list) : p(list ? none : "unknown");
}
