// What a dry run answered, in words.

import { h, type Child } from "../dom";
import { statusBadge } from "../format";
import type { AffectedService, Override, Status } from "../types";
import { count, grouped, printable } from "../words/text";
import { authorship } from "../words/why";
import type { Answer } from "./flow";
import { p } from "./fields";

// most is how many services are named. All are counted.
const most = 12;

// What a change of an override answers.
export interface OfPattern extends Answer {
  matched_count: number;
  affected?: AffectedService[];
  affected_total?: number;
  override?: Override;
}

export function affected(a: OfPattern): Child[] {
  const list = (a.affected ?? []).slice(0, most);
  const total = a.affected_total ?? 0;
  return [
    p(h("b", null, `${grouped(total)} of ${count(a.matched_count, "service")} would change.`)),
    h("ul", null, ...list.map((s) => h("li", null, turns(s.service, s.before, s.after)))),
    total > list.length && p(`and ${grouped(total - list.length)} more`),
  ];
}

export function turns(service: string, before: Status, after: Status): HTMLElement {
  return h("span", null, printable(service) + " ", statusBadge(before), " → ", statusBadge(after));
}

// standing names an override that there is, who set it, and why.
export function standing(o: Override): Child[] {
  return [`override ${printable(o.pattern)} `, statusBadge(o.status), authorship(Date.now(), o)];
}

export function warning(...children: Child[]): HTMLElement {
  return h("p", { class: "warn" }, "▲ ", ...children);
}

// scope says in words what a pattern covers.
export function scope(pattern: string): string {
  if (pattern === "**") return "every service, over all other overrides";
  if (pattern === "*") return "every service";
  return /[/.]\*$/.test(pattern) ? "all services whose names begin with " + printable(pattern.slice(0, -1)) : "the service " + printable(pattern);
}
