import type { Lease, LeaseGuard, Override, Report, Rule, ServiceRecord, Status } from "../types";
import { ruleOf } from "./rule";
import { by, covers, printable, sentence, service, who } from "./text";
import { age, ahead, clock, duration, local, remaining, twoUnits } from "./time";

// The sentences of "rollcall why". A browser test compares them with those of the command.

export interface Part {
  title: string;
  lines: string[];
}

/** Says why a service has its status, first since when, then layer by layer. rules undefined: not known here. */
export function why(now: number, rec: ServiceRecord, guard?: LeaseGuard, rules?: Rule[]): Part[] {
  const parts = [
    { title: "Status", lines: [`${service(rec.service)} is ${rec.status}${since(now, rec.status_time)}.`] },
    { title: "Decides", lines: decision(now, rec) },
    { title: "Beneath", lines: beneath(now, rec) },
    { title: "Next", lines: next(rec) },
    { title: "Lease", lines: underLease(now, rec, guard) },
  ];
  if (rules) parts.push({ title: "Rules", lines: covering(rules, rec.service) });
  return parts.filter((p) => p.lines.length > 0);
}

function covering(rules: Rule[], name: string): string[] {
  const lines = rules.filter((r) => covers(r.pattern, name)).map(ruleOf);
  return lines.length ? lines : ["No rule covers it."];
}

const since = (now: number, t?: string) => (t ? ` since ${local(t)} (${age(now, t)})` : "");

function decision(now: number, rec: ServiceRecord): string[] {
  const o = rec.override;
  if (!o) return rec.report ? ["The report decides, no override covers it: " + reported(rec.report)] : [];
  const subject = o.pattern === "**" ? "The switch of the whole registry, override **," : `The override ${printable(o.pattern)}`;
  return [sentence(`${subject} decides: ${who(o.actor)} set it to ${o.status} at ${local(o.time!)}`, o.reason), ending(now, o)];
}

function ending(now: number, o: Override): string {
  const clear = o.pattern === "**" ? "rollcall resume" : `rollcall override clear ${/\*/.test(o.pattern) ? `'${o.pattern}'` : printable(o.pattern)}`;
  const end = o.expire_time;
  if (!end) return `It has no end: "${clear}" ends it.`;
  const left = (Date.parse(end) - now) / 1000;
  if (left < 0) return `It was to end at ${clock(now, end)}; a leader ends it as soon as there is one.`;
  return `It ends at ${clock(now, end)}, in ${remaining(left)}; "${clear}" ends it now.`;
}

function beneath(now: number, rec: ServiceRecord): string[] {
  if (!rec.override) return [];
  const lines = (rec.shadowed ?? []).map((o) => `Beneath it is the override ${printable(o.pattern)} ${o.status}${authorship(now, o)}.`);
  return rec.report ? [...lines, "Beneath it is the report: " + reported(rec.report)] : lines;
}

/** What follows the pattern of an override: " by ann until 15:46: disk swap". */
export function authorship(now: number, o: Override): string {
  const end = o.expire_time;
  const until = !end ? "without end" : Date.parse(end) < now ? `overdue since ${clock(now, end)}` : `until ${clock(now, end)}`;
  return `${by(o.actor)} ${until}${o.reason ? `: ${printable(o.reason)}` : ""}`;
}

const reported = (r: Report) => sentence(`${who(r.actor)} said ${r.status} at ${local(r.time!)}`, r.reason);

// Of the overrides beneath, those that end no later than the one that decides are passed over.
function next(rec: ServiceRecord): string[] {
  const o = rec.override, shadowed = rec.shadowed ?? [];
  if (!o) return [];
  const then = shadowed.find((s) => !o.expire_time || !s.expire_time || Date.parse(s.expire_time) > Date.parse(o.expire_time));
  const lines = [end(rec, then, "When it ends")];
  if (shadowed[0]?.pattern !== then?.pattern) lines.push(end(rec, shadowed[0], "If it is ended now"));
  return lines;
}

function end(rec: ServiceRecord, o: Override | undefined, when: string): string {
  const status = (o ?? rec.report)?.status ?? "UNKNOWN";
  const then = o ? `the override ${printable(o.pattern)} decides` : "the report decides again";
  return `${when}, ${service(rec.service)} will ${status === rec.status ? "still " : ""}be ${status}: ${then}.`;
}

/** What a report turns to when its lease ends. */
export const becomes = (s?: Status) => (s === "SERVICE_UNKNOWN" ? "deleted" : s);

const timeLeft = (s: number) => (s < 60 ? twoUnits(Math.floor(s * 10 + 1e-6) / 10) : remaining(s));

function underLease(now: number, rec: ServiceRecord, guard?: LeaseGuard): string[] {
  const l = rec.lease;
  if (!l?.ttl_seconds) return [];
  const name = `${printable(l.lease_id)} (ttl ${duration(l.ttl_seconds)})`;
  if (l.end_time) return ended(now, l, name);
  const left = l.time_left_seconds;
  let line = `The report lives as long as lease ${name}`;
  if (left === undefined) line += "; how much time that has, only a leader knows.";
  else if (left >= 0) line += `, which expires in ${timeLeft(left)} unless it is renewed.`;
  else if (guard?.engaged) line += `, which is due for ${timeLeft(-left)}. The lease guard holds it: "rollcall lease release-guard" lets it expire.`;
  else line += `, which is due for ${timeLeft(-left)} and about to expire.`;
  const end = l.on_expiry === "SERVICE_UNKNOWN" ? "is deleted" : `turns to ${l.on_expiry}`;
  const later = l.forget_after_seconds ? `, and is deleted ${duration(l.forget_after_seconds)} later` : "";
  return [
    line,
    `When the lease expires, the report ${end}${later}.`,
    `While it lives, the report is changed only with --lease; "rollcall override set ${service(rec.service)} STATUS" decides over it.`,
  ];
}

function ended(now: number, l: Lease, name: string): string[] {
  const lines = [`Its lease ${name} ${l.revoked ? "was revoked" : "expired"} at ${local(l.end_time!)}. Anybody may change the report.`];
  if (l.forget_time) lines.push(`The report is deleted ${ahead(now, l.forget_time)}, at ${clock(now, l.forget_time)}, unless somebody changes it before.`);
  return lines;
}
