import { number, plural } from "../format";
import type { Event } from "../types";
import { enforcement, held } from "./access";
import { bound, broken } from "./rule";
import { printable, sentence, who } from "./text";
import { ahead, clock, duration, local } from "./time";
import { becomes } from "./why";

/** What an event is about: a service, a pattern, a lease, an identity or a role; "" if it is of none. */
export function subject({ type, access: a, lease_id, service, pattern }: Event): string {
  if (a) return a.token ? `token:${a.token.name}` : (a.role?.name ?? a.grants?.identity ?? "");
  return (/^lease-(?!guard)/.test(type) ? lease_id : service || pattern) ?? "";
}

/** Says what an event changed, in the words of "rollcall events": "SERVING→NOT_SERVING", "override cleared, 3 services". */
export function transition(now: number, e: Event): string {
  const { type, status, previous_status: previous, effective_status: effective, lease, rule, lease_guard: g } = e;
  if (e.service) return `${previous === "SERVICE_UNKNOWN" ? "-" : previous}→${becomes(status)}${effective === status ? "" : ` (shown as ${effective})`}`;
  const [about, what] = type.split("-") as [string, string];
  const of = ", " + plural(e.matched_count ?? 0, "service");
  const until = (t: string | undefined, words: string, none = "") => (t ? words + clock(now, t) : none);
  if (about === "override") return `override ${what === "set" ? status + until(e.expire_time, " until ", " without end") : what === "expired" ? "ended" : what}${of}`;
  if (rule) return `rule ${printable(rule.name)}${what === "set" ? `: ${bound(rule)}` : " removed"}`;
  if (about === "member") return memberChange(e);
  if (about === "access") return accessChange(e, until);
  if (g) return `lease guard ${g.engaged ? `holds leases, ${number(g.late)} of ${number(g.live)} were late` : g.release_time ? "released" : "holds no leases"}`;
  if (about !== "lease") return type; // of a newer node
  const { ttl_seconds, forget_time, forget_after_seconds: after, end_time, on_expiry, revoked } = lease ?? {};
  switch (what) {
    case "granted":
      return `lease granted, ttl ${duration(ttl_seconds!)}, then ${forget_time ? `deleted ${ahead(now, forget_time)}` : end_time ? "changing" : becomes(on_expiry) + (after ? `, deleted ${duration(after)} later` : "")}`;
    case "ended":
      return `lease ${!end_time ? "ended" : revoked ? "revoked" : "expired"}${of}${until(forget_time, ", deleted at ")}`;
  }
  return `lease ${what}${of}${what === "ending" ? ", changed in parts" : ""}`;
}

/** Who deleted a service, or what; "" if an event did something else. */
export function deletion(e: Event): string {
  if (e.status !== "SERVICE_UNKNOWN") return "";
  return sentence(e.type === "deleted" ? `${who(e.actor)} deleted it at ${local(e.time!)}` : `It was deleted at ${local(e.time!)}, after the end of its lease`, e.reason);
}

function accessChange({ access: a }: Event, until: (t: string | undefined, words: string) => string): string {
  const { deleted, token, role, grants, auth } = a!;
  if (token) return `token ${deleted ? "revoked" : `created${until(token.expire_time, ", expires ")}`}`;
  if (role) return `role ${deleted ? "removed" : `may ${role.verbs.join(", ")}`}`;
  if (auth) return enforcement(auth);
  if (!grants) return "access changed";
  return `grants${deleted ? " removed" : `: ${held(grants)}`}`;
}

function memberChange({ type, member: m, actor: a }: Event): string {
  const name = `member ${printable(m?.name ?? "") || "-"}`;
  const directory = m?.directory_id ? `, directory ${printable(m.directory_id)}` : "";
  if (type === "member-removed") return `${name} removed for ever${directory}`;
  if (!m?.peer_address && !m?.api_address) return (a ? `${name} ends` : `removal of ${name} forgotten`) + directory;
  // Each node says where it is when it starts. All other changes of members are somebody's commands.
  if (!a || (a.verified && a.name === `node ${m.name}`)) return `${name} at ${printable(m.api_address) || "-"}`;
  return `${name} is to ${m.replica ? "follow as a replica" : "vote"}${directory}`;
}

/** The reason of an event, and the rules that it broke; "" for neither. */
export function eventReason({ type, reason, broken_rules, break_glass }: Event): string {
  const rules = broken_rules?.length && (type === "rule-set" ? "broken when it was set: " : "broke ") + broken(broken_rules, "serve") + (break_glass?.length ? ", as --break-glass allowed" : "");
  return [printable(reason), rules].filter(Boolean).join("; ");
}
