import type { BrokenRule, Rule } from "../types";
import { printable } from "./text";

/** What a rule asks for: "at least 2", "at least 50 %". */
export function bound(r: Rule): string {
  return "at least " + [r.min_serving || "", r.min_percent ? `${r.min_percent} %` : ""].filter(Boolean).join(" and ");
}

/** How far a rule is from broken: "2 of 3 are SERVING, 1 more may stop". */
export function distance(r: Rule): string {
  if (r.needed < r.min_serving) return "how many are SERVING is not shown to this caller";
  const count = `${r.serving} of ${r.total} ${r.serving === 1 ? "is" : "are"} SERVING`;
  const spare = r.serving - r.needed;
  if (spare < 0) return `broken: ${count}, ${-spare} too few`;
  return count + (spare === 0 ? ", none may stop" : `, ${spare} more may stop`);
}

/** A rule that covers the service that is shown. */
export function ruleOf(r: Rule): string {
  const line = `Rule ${printable(r.name)} (${bound(r)} of ${printable(r.pattern)}) covers it: ${distance(r)}.`;
  return r.serving < r.needed ? line + " What makes it worse is refused." : line;
}

/** Which rules a change breaks: "pay-min (shop/pay/*: 1 needed, 0 of 3 would serve)". */
export function broken(rules: BrokenRule[], serve: "serve" | "would serve"): string {
  return rules.map((r) => `${printable(r.rule)} (${printable(r.pattern)}: ${r.needed} needed, ${r.serving} of ${r.total} ${serve})`).join(", ");
}
