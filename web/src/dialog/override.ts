// Overrides: set one, end one, shut a part of the registry down.

import { h, type Child } from "../dom";
import { get, name } from "../api";
import type { Override, Status } from "../types";
import { printable } from "../words/text";
import { authorship } from "../words/why";
import { field, input, p, select, statuses } from "./fields";
import { run } from "./flow";
import { affected, scope, standing, warning, type OfPattern } from "./preview";

function set(title: string, about: string, verb: string, pattern: () => string, status: () => string, ...fields: Child[]): Promise<boolean> {
  const n = input({ type: "number", min: 1, value: 1, required: true });
  const unit = select("3600", [["60", "minutes"], ["3600", "hours"], ["86400", "days"], ["", "until it is cleared"]]);
  unit.setAttribute("aria-label", "Unit");
  unit.addEventListener("change", () => { n.disabled = !unit.value; });
  let before: Override | undefined; // that this one replaces
  return run<OfPattern>({
    title,
    about: [p(about)],
    fields: [...fields, h("div", { class: "pair" }, field("For how long (30 days at most)", n), unit)],
    async look() {
      before = (await get<{ overrides: Override[] }>("overrides", { page_size: 10_000 })).overrides.find((o) => o.pattern === pattern());
    },
    request: () => ["POST", "overrides", {
      pattern: pattern(), status: status(), ...(unit.value ? { ttl_seconds: +n.value * +unit.value } : { forever: true }), if_revision: before?.revision ?? 0,
    }],
    preview: (a) => [
      before && warning("It takes the place of ", ...standing(before)),
      !a.matched_count && warning(`${printable(pattern())} covers no service now. For its instances, give ${printable(pattern())}/*`),
      ...affected(a),
    ],
    verb,
    done: (a) => `Override ${printable(pattern())} ${status()}${authorship(Date.now(), a.override!)}. Revision ${a.revision}.`,
  });
}

export function overrideDialog(pattern: string, to: Status = "NOT_SERVING"): Promise<boolean> {
  const at = input({ value: pattern, required: true, maxlength: 258 });
  const want = select(to, statuses);
  return set("Set an override", "Shows a status for all services of a pattern. Reports go on beneath it, and show again when it ends.", "Set override",
    () => at.value.trim(), () => want.value,
    field("Pattern", at, "shop/cart is that service, shop/* all that begin with shop/, * all."), field("Status", want));
}

// shutdownDialog shows all services whose names begin with a prefix as NOT_SERVING. "" is the whole registry.
export function shutdownDialog(prefix: string): Promise<boolean> {
  const pattern = prefix === "" ? "**" : prefix + (/[/.]$/.test(prefix) ? "*" : "/*");
  return set("Shut down " + (prefix === "" ? "the whole registry" : printable(pattern)),
    `Shows ${scope(pattern)}, as NOT_SERVING. No process stops, and reports go on beneath it.` + (prefix && " Overrides that cover less go on to decide."),
    "Shut down", () => pattern, () => "NOT_SERVING");
}

export function clearOverrideDialog(o: Override): Promise<boolean> {
  const verb = o.pattern === "**" ? "Resume" : "End override";
  return run<OfPattern>({
    title: `${verb} ${printable(o.pattern)}`,
    about: [p("Now: ", ...standing(o)), p("Its services show again what is beneath it.")],
    request: () => ["DELETE", "overrides/" + name(o.pattern), { if_revision: o.revision }],
    preview: affected,
    verb,
  });
}
