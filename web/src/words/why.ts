import type { LeaseGuard, Override, Rule, ServiceRecord, Status } from "../types";
import { ruleOf } from "./rule";
import { actor, covers, printable, sentence, service, who } from "./text";
import { age, ahead, clock, duration, local, remaining, twoUnits } from "./time";

/** Says why a service has its status, in the sentences of "rollcall why". Without rules nothing is said of them. */
export function why(now: number, rec: ServiceRecord, guard?: LeaseGuard, rules?: Rule[]): string[] {
  const name = service(rec.service), { status, status_time, report, override: o, shadowed = [] } = rec;
  const lines = [`${name} is ${status}${status_time ? ` since ${local(status_time)} (${age(now, status_time)})` : ""}.`];
  const reported = report && sentence(`${who(report.actor)} said ${report.status} at ${local(report.time!)}`, report.reason);
  if (o) {
    const subject = o.pattern === "**" ? "The switch of the whole registry, override **," : `The override ${printable(o.pattern)}`;
    lines.push(sentence(`${subject} decides: ${who(o.actor)} set it to ${o.status} at ${local(o.time!)}`, o.reason), ending(now, o));
    for (const s of shadowed) lines.push(`Beneath it is the override ${printable(s.pattern)} ${s.status}${authorship(now, s)}.`);
    if (reported) lines.push(`Beneath it is the report: ${reported}`);
    const end = (when: string, next?: Override) => {
      const then = (next ?? report)?.status;
      lines.push(`${when}, ${name} will ${then === status ? "still " : ""}be ${then}: ${next ? `the override ${printable(next.pattern)} decides` : "the report decides again"}.`);
    };
    // Of those beneath, some may end before it does. Who ends it now gets them.
    const then = shadowed.find((s) => !o.expire_time || !s.expire_time || Date.parse(s.expire_time) > Date.parse(o.expire_time));
    end("When it ends", then);
    if (shadowed[0]?.pattern !== then?.pattern) end("If it is ended now", shadowed[0]);
  } else if (reported) lines.push(`The report decides, no override covers it: ${reported}`);
  lines.push(...underLease(now, rec, guard));
  if (rules) {
    const covering = rules.filter((r) => covers(r.pattern, rec.service)).map(ruleOf);
    lines.push(...(covering.length ? covering : ["No rule covers it."]));
  }
  return lines;
}

function ending(now: number, { pattern, expire_time }: Override): string {
  const p = printable(pattern);
  const clear = `"rollcall ${pattern === "**" ? "resume" : `override clear ${/\*/.test(p) ? `'${p}'` : p}`}" ends it`;
  if (!expire_time) return `It has no end: ${clear}.`;
  const left = (Date.parse(expire_time) - now) / 1000, end = clock(now, expire_time);
  return left < 0 ? `It was to end at ${end}; a leader ends it as soon as there is one.` : `It ends at ${end}, in ${remaining(left)}; ${clear} now.`;
}

/** What follows the pattern of an override: " by ann until 15:46: disk swap". */
export function authorship(now: number, { actor: a, expire_time, reason }: Override): string {
  const until = expire_time ? `${Date.parse(expire_time) < now ? "overdue since" : "until"} ${clock(now, expire_time)}` : "without end";
  return `${a?.name ? ` by ${actor(a)}` : ""} ${until}${reason && `: ${printable(reason)}`}`;
}

/** What a report turns to when its lease ends. */
export const becomes = (s?: Status) => (s === "SERVICE_UNKNOWN" ? "deleted" : s);

const timeLeft = (s: number) => (s < 60 ? twoUnits(s < 1 ? Math.floor(s * 10 + 1e-9) / 10 : s) : remaining(s));

function underLease(now: number, rec: ServiceRecord, guard?: LeaseGuard): string[] {
  const { ttl_seconds, lease_id, end_time, forget_time, revoked, time_left_seconds: left, on_expiry, forget_after_seconds } = rec.lease ?? {};
  if (!ttl_seconds) return [];
  const name = `lease ${printable(lease_id!)} (ttl ${duration(ttl_seconds)})`;
  if (end_time) {
    const line = `Its ${name} ${revoked ? "was revoked" : "expired"} at ${local(end_time)}. Anybody may change the report.`;
    return forget_time ? [line, `The report is deleted ${ahead(now, forget_time)}, at ${clock(now, forget_time)}, unless somebody changes it before.`] : [line];
  }
  const due = left === undefined ? "; how much time that has, only a leader knows."
    : left >= 0 ? `, which expires in ${timeLeft(left)} unless it is renewed.`
    : `, which is due for ${timeLeft(-left)}${guard?.engaged ? `. The lease guard holds it: "rollcall lease release-guard" lets it expire.` : " and about to expire."}`;
  return [
    `The report lives as long as ${name}${due}`,
    `When the lease expires, the report ${on_expiry === "SERVICE_UNKNOWN" ? "is deleted" : `turns to ${on_expiry}`}${forget_after_seconds ? `, and is deleted ${duration(forget_after_seconds)} later` : ""}.`,
    `While it lives, the report is changed only with --lease; "rollcall override set ${service(rec.service)} STATUS" decides over it.`,
  ];
}
