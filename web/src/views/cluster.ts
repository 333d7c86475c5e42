// The cluster as the node that answers sees it: members, problems, rules, overrides, limits.

import { get, headers } from "../api";
import { askCluster, onCluster, standing } from "../cluster";
import { clearOverrideDialog, overrideDialog, removeRuleDialog, ruleDialog, shutdownDialog, transferDialog } from "../dialogs";
import { message } from "../dialog/advice";
import { asks } from "../dialog/rule";
import { p } from "../dialog/fields";
import { h, type Child } from "../dom";
import { bytes, number, statusBadge, time } from "../format";
import { may } from "../me";
import { patch } from "../patch";
import { hasPath } from "../record";
import type { ClusterStatus, LeaseGuard, MemberStatus, Override, Rule } from "../types";
import { printable } from "../words/text";
import { distance } from "../words/rule";
import { remaining, twoUnits } from "../words/time";
import type { Ctx } from "../view";
import { button, by, command, ends, facts, listed, section, spoken } from "./parts";

const every = 2_000, seldom = 10_000; // ms

// What is asked for more seldom than the status. What is undefined is not known.
interface Layers {
  rules?: { rules: Rule[] };
  overrides?: { overrides: Override[] };
  leases?: { guard?: LeaseGuard };
  watches?: string; // of the node that answers
  may: Record<string, boolean>;
}

type Change = (dialog: () => Promise<boolean>) => () => void;

export function mount(root: HTMLElement, _params: URLSearchParams, _ctx: Ctx): () => void {
  const l: Layers = { may: {} };
  const el = h("div");
  root.append(h("div.view", h("h1", "Cluster"), el));
  let asked = 0;

  const draw = () => patch(el, h("div", ...page(l, change)));
  const ask = async () => {
    if (document.hidden) return;
    asked = Date.now();
    const known = async <K extends keyof Layers>(key: K, asking: Promise<Layers[K]>) => { l[key] = (await asking.catch(() => undefined)) as Layers[K]; };
    await Promise.all([
      known("rules", get("rules")), known("overrides", get("overrides")), known("leases", get("leases", { page_size: 1 })), known("watches", watches()),
      ...["cluster", "rules", "override"].map(async (verb) => { l.may[verb] = await may(verb); }),
    ]);
    draw();
  };
  const change: Change = (dialog) => async () => {
    if (await dialog()) void ask(), void askCluster();
  };
  const tick = () => {
    void askCluster();
    if (Date.now() - asked >= seldom) void ask();
  };
  const off = onCluster(draw), timer = setInterval(tick, every);
  tick();
  return () => { off(); clearInterval(timer); };
}

// watches reads how many there are, which a node says in its metrics alone.
async function watches(): Promise<string> {
  const text = await (await fetch("/metrics", { headers: headers() })).text();
  const [now, most] = ["", "_limit"].map((s) => number(+new RegExp(`^rollcall_watches${s} (.*)`, "m").exec(text)![1]!));
  return `${now} of ${most}`;
}

function page(l: Layers, change: Change): Child[] {
  const { status: c, at, error } = standing();
  const old = error && h("p.panel bad", { role: "alert" }, `▲ ${message(error)}. `, c && "What follows is of ", c && time(new Date(at).toISOString(), true));
  if (!c) return [old || "…"];
  const guard = l.leases?.guard;
  return [
    old,
    facts(
      "Cluster", c.cluster_id || "none yet",
      "Leader", `${c.leader || "▲ none"} (term ${c.term})`,
      "Revision", number(c.revision),
      "Changes", c.writable ? "are taken" : "▲ are refused",
      "Feature level", c.level + (c.level_held && ": " + printable(c.level_held)),
      "Access", c.access_enforced ? "is enforced" : "is not enforced: everybody may do everything",
      "Lease guard", !l.leases ? undefined : guard?.engaged
        ? `▲ holds all leases: ${number(guard.late)} of ${number(guard.live)} were late. If their reporters are dead: rollcall lease release-guard` : "holds none",
      `Watches of ${c.node}`, l.watches,
    ),
    !c.leader && c.cluster_id && alone(c),
    section("Problems", c.problems.length
      ? h("ul.panel bad", ...c.problems.map((text) => h("li@problem", ...spoken(text))))
      : "● None is known."),
    section("Members",
      h("div.cards", ...c.members.map(card)),
      l.may.cluster && c.members.length > 1 && p(button("Hand leadership over", "", "", change(() => transferDialog(standing().status!)))),
      p("Other changes of members are commands: ", ...["add NAME --peer HOST:PORT", "replace NAME", "remove NAME"].map((verb) => command("rollcall member " + verb)))),
    listed("Rules", "Rule|Asks for|Now|Set by|", l.rules?.rules, (r) => [
      printable(r.name), asks(r), h("span", { class: r.serving < r.needed && "error" }, r.serving < r.needed && "▲ ", distance(r)), by(r),
      l.may.rules && h("span", button("Change", r.name, r.revision, change(() => ruleDialog(r))), button("Remove", r.name, r.revision, change(() => removeRuleDialog(r)))),
    ], "", l.may.rules && button("Add a rule", "", "", change(ruleDialog))),
    listed("Overrides", "Pattern|Status|Ends|Set by|", l.overrides?.overrides, (o) => [
      printable(o.pattern), statusBadge(o.status), ends(o.expire_time, 0), by(o),
      l.may.override && hasPath(o.pattern) && button("End", o.pattern, o.revision, change(() => clearOverrideDialog(o))),
    ], "", l.may.override && button("Set an override", "", "", change(() => overrideDialog(""))), l.may.override && button("Shut the registry down", "", "", change(() => shutdownDialog("")))),
  ];
}

// alone says what it means that there is no leader, and what to do (docs/night.md).
function alone(c: ClusterStatus): HTMLElement {
  const age = c.members.find((m) => m.member.name === c.node)?.leader_age_seconds;
  return h("section.panel bad", h("h2", "▲ No leader: nothing can be changed"),
    p(`Reads go on. ${c.node} last heard a leader ${age === undefined ? "before it was started" : remaining(age) + " ago"}, and shows what it knew then. No override and no lease ends.`),
    p("Start the voters that do not answer with their data directories: then all goes on. Only if too many are lost for good (docs/night.md), stop the others: ",
      command("rollcall recover --inspect DIRECTORY..."), " says which directory is best, and ", command("rollcall recover --data DIRECTORY"), " makes a cluster of it."));
}

function card(m: MemberStatus): HTMLElement {
  const { name, phase, voter, phase_detail, api_address, peer_address } = m.member;
  const s = m.storage, off = m.clock_offset_seconds, heard = m.leader_age_seconds, end = m.certificate_expires;
  return h("article.panel@cluster-node", { "data-key": name },
    h("h3", name + " ", h("span.muted", m.role)),
    m.error && h("p.error", "▲ ", ...spoken(m.error)),
    facts(
      "Ready", m.ready ? "● yes" : "▲ no",
      "Phase", (phase ?? (voter ? "voter" : "unknown")) + (phase_detail ? ": " + printable(phase_detail) : ""),
      "Addresses", `API ${api_address}, peers ${peer_address}`,
      ...(m.start_time ? [
        "Revision", number(m.revision),
        "Lag", m.lag_entries + " log entries",
        "Term", m.term,
        "Heard a leader", m.role === "leader" ? "leads" : heard === undefined ? heard : twoUnits(heard) + " ago",
        "Clock", off === undefined ? off : Math.abs(off) < 0.001 ? "right" : `${twoUnits(Math.abs(off))} ${off < 0 ? "behind" : "ahead"}`,
        "Certificate", end && ends(end, 0),
        "Version", `${m.version}, level ${m.max_level}` + (m.hold_level ? ` held at ${m.hold_level}` : ""),
        "Runs for", remaining((Date.now() - Date.parse(m.start_time)) / 1000),
        "On disk", s && `registry ${bytes(s.registry_bytes)}, log ${bytes(s.log_bytes)}, snapshots ${bytes(s.snapshot_bytes)}`,
        "Free", s?.free_bytes === undefined ? undefined : bytes(s.free_bytes),
        ...(m.cannot_reach.length ? ["Cannot reach", "▲ " + m.cannot_reach.join(", ")] : []),
      ] : ["All else", undefined]),
    ));
}
