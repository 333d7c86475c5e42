// Rules: set one, remove one.

import { h } from "../dom";
import { get, name } from "../api";
import type { Rule } from "../types";
import { bound, distance } from "../words/rule";
import { printable } from "../words/text";
import { field, input, p } from "./fields";
import { run, type Answer } from "./flow";
import { warning } from "./preview";

export const asks = (r: Rule): string => `${bound(r)} of ${printable(r.pattern)}`;

export function ruleDialog(r?: Rule): Promise<boolean> {
  const id = input({ value: r?.name, required: true, maxlength: 64, readonly: Boolean(r) });
  const pattern = input({ value: r?.pattern, required: true, maxlength: 258 });
  const min = input({ type: "number", min: 1, value: r?.min_serving || "" });
  const percent = input({ type: "number", min: 1, max: 100, value: r?.min_percent || "" });
  const reports = h("input", { type: "checkbox", checked: r?.enforce_reports });
  let before: Rule | undefined;
  return run<Answer & { rule: Rule }>({
    title: r ? "Change rule " + printable(r.name) : "Add a rule",
    about: [p("Refuses changes that would leave fewer services of its pattern SERVING.")],
    fields: [field("Name", id), field("Pattern", pattern, "shop/cart, shop/* or *"), field("At least so many", min), field("At least so many percent", percent),
      h("label.tick", reports, " It binds reports that have a lease, too")],
    async look() {
      before = (await get<{ rules: Rule[] }>("rules")).rules.find((one) => one.name === id.value.trim());
    },
    request: () => ["POST", "rules", {
      name: id.value.trim(), pattern: pattern.value.trim(), enforce_reports: reports.checked, if_revision: before?.revision ?? 0,
      min_serving: +min.value || undefined, min_percent: +percent.value || undefined,
    }],
    // The node counts for the answer only if the rule is broken from the first.
    preview: ({ rule }) => [before && warning("It takes the place of: " + asks(before)), p(`${asks(rule)}. ${rule.total || rule.needed ? distance(rule) : "It holds now"}.`)],
    verb: "Set rule",
  });
}

export function removeRuleDialog(r: Rule): Promise<boolean> {
  return run({
    title: "Remove rule " + printable(r.name),
    about: [p(`${asks(r)}; ${distance(r)}. It refuses nothing from then on.`)],
    request: () => ["DELETE", "rules/" + name(r.name), { if_revision: r.revision }],
    verb: "Remove",
  });
}
