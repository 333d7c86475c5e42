import type { AccessChange, Auth, Event, IdentityGrants, Lease } from "../types";
import { bound, broken } from "./rule";
import { count, grouped, printable } from "./text";
import { ahead, clock, duration } from "./time";
import { becomes } from "./why";

// What an event changed, in the words of "rollcall events". A browser test compares them.

/** What an event is about: a service, a pattern, a lease, an identity or a role; "" if it is of none. */
export function subject(e: Event): string {
  const a = e.access;
  if (a) return a.token ? `token:${a.token.name}` : a.role?.name ?? a.grants?.identity ?? "";
  return /^lease-(?!guard)/.test(e.type) ? e.lease_id ?? "" : e.service || e.pattern || "";
}

/** Says what an event changed: "SERVING→NOT_SERVING", "override NOT_SERVING until 15:46, 3 services". */
export function transition(now: number, e: Event): string {
  if (!e.service) return change(now, e) || e.type; // a type that is not known here is of a newer node
  const from = e.previous_status === "SERVICE_UNKNOWN" ? "-" : e.previous_status;
  const shown = e.effective_status !== e.status ? ` (shown as ${e.effective_status})` : "";
  return `${from}→${becomes(e.status)}${shown}`;
}

function change(now: number, e: Event): string {
  const services = ", " + count(e.matched_count ?? 0, "service");
  const lease = e.lease;
  switch (e.type) {
    case "override-set":
      return `override ${e.status} ${e.expire_time ? `until ${clock(now, e.expire_time)}` : "without end"}${services}`;
    case "override-cleared":
      return `override cleared${services}`;
    case "override-expired":
      return `override ended${services}`;
    case "rule-set":
      return `rule ${printable(e.rule!.name)}: ${bound(e.rule!)}`;
    case "rule-removed":
      return `rule ${printable(e.rule!.name)} removed`;
    case "lease-granted":
      return `lease granted, ttl ${duration(lease!.ttl_seconds!)}, then ${leaseEnd(now, lease!)}`;
    case "lease-ending":
      return `lease ending${services}, changed in parts`;
    case "lease-ended": {
      const how = !lease?.end_time ? "ended" : lease.revoked ? "revoked" : "expired";
      return `lease ${how}${services}${lease?.forget_time ? `, deleted at ${clock(now, lease.forget_time)}` : ""}`;
    }
    case "lease-forgotten":
      return `lease forgotten${services}`;
    case "lease-guard": {
      const g = e.lease_guard;
      if (g?.engaged) return `lease guard holds leases, ${grouped(g.late)} of ${grouped(g.live)} were late`;
      return g?.release_time ? "lease guard released" : "lease guard holds no leases";
    }
    case "access-changed":
      return accessChange(now, e.access);
    case "member-changed":
    case "member-removed":
      return memberChange(e);
  }
  return "";
}

function leaseEnd(now: number, l: Lease): string {
  if (l.forget_time) return `deleted ${ahead(now, l.forget_time)}`;
  if (l.end_time) return "changing";
  return becomes(l.on_expiry) + (l.forget_after_seconds ? `, deleted ${duration(l.forget_after_seconds)} later` : "");
}

function accessChange(now: number, c?: AccessChange): string {
  if (c?.token) {
    if (c.deleted) return "token revoked";
    return "token created" + (c.token.expire_time ? `, expires ${clock(now, c.token.expire_time)}` : "");
  }
  if (c?.role) return c.deleted ? "role removed" : `role may ${c.role.verbs.join(", ")}`;
  if (c?.grants) return c.deleted ? "grants removed" : `grants: ${held(c.grants)}`;
  return c?.auth ? enforcement(c.auth) : "access changed";
}

/** What an identity may do: "reporter on shop/* and pay, viewer on *"; "nothing". */
export function held(g: IdentityGrants): string {
  const list = g.grants.map((g) => `${printable(g.role)} on ${g.patterns.map(printable).join(" and ")}`).join(", ");
  if (!g.denied) return list || "nothing";
  return "denied everything" + (list && `, would have ${list}`);
}

/** Whether access is enforced, and what anonymous callers may do then. */
export function enforcement(a: Auth): string {
  if (!a.enforced) return "access is not enforced: everybody may do everything";
  return `access is enforced; anonymous callers ${a.anonymous ? `have the role ${printable(a.anonymous)}` : "may do nothing"}`;
}

function memberChange(e: Event): string {
  const m = e.member;
  const name = `member ${m?.name ? printable(m.name) : "-"}`;
  const directory = m?.directory_id ? `, directory ${printable(m.directory_id)}` : "";
  if (e.type === "member-removed") return `${name} removed for ever${directory}`;
  if (!m?.peer_address && !m?.api_address) return (e.actor ? `${name} ends` : `removal of ${name} forgotten`) + directory;
  // Each node says where it is when it starts. All other changes of members are somebody's commands.
  if (!e.actor || (e.actor.verified && e.actor.name === `node ${m.name}`)) return `${name} at ${printable(m.api_address) || "-"}`;
  return `${name} is to ${m.replica ? "follow as a replica" : "vote"}${directory}`;
}

/** The reason of an event, and the rules that it broke; "" for neither. */
export function eventReason(e: Event): string {
  const parts = e.reason ? [printable(e.reason)] : [];
  if (e.broken_rules?.length) {
    const how = e.type === "rule-set" ? "broken when it was set: " : "broke ";
    parts.push(how + broken(e.broken_rules, "serve") + (e.break_glass?.length ? ", as --break-glass allowed" : ""));
  }
  return parts.join("; ");
}
