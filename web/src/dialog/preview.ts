// What a dry run answered, in words.

import { h, type Child } from "../dom";
import { number, plural, statusBadge } from "../format";
import type { AffectedService, Override } from "../types";
import { printable } from "../words/text";
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
  const list = (a.affected ?? []).slice(0, most), total = a.affected_total ?? 0;
  return [
    p(h("b", `${number(total)} of ${plural(a.matched_count, "service")} would change.`)),
    h("ul", ...list.map((s) => h("li", printable(s.service) + " ", statusBadge(s.before), " → ", statusBadge(s.after)))),
    total > list.length && p(`and ${number(total - list.length)} more`),
  ];
}

// standing names an override that there is, who set it, and why.
export function standing(o: Override): Child[] {
  return [`override ${printable(o.pattern)} `, statusBadge(o.status), authorship(Date.now(), o)];
}

export function warning(...children: Child[]): HTMLElement {
  return h("p.warn", "▲ ", ...children);
}
