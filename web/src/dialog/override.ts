// Overrides: set one, end one, shut a part of the registry down.

import type { Child } from "../dom";
import { get, name } from "../api";
import type { Override, Status } from "../types";
import { printable } from "../words/text";
import { authorship } from "../words/why";
import { field, input, p, select, statuses } from "./fields";
import { run } from "./flow";
import { affected, standing, warning, type OfPattern } from "./preview";

// ttl reads "2h".
function ttl(text: string): object {
  const unit = { s: 1, m: 60, h: 3600, d: 86400 }[text.slice(-1)];
  return /^\d/.test(text) ? { ttl_seconds: parseInt(text) * unit! } : { forever: true };
}

function set(title: string, about: string, verb: string, pattern: () => string, status: () => string, ...fields: Child[]): Promise<boolean> {
  const lasts = input({ value: "1h", required: true, pattern: "\\d+[smhd]|forever" });
  let before: Override | undefined; // that this one replaces
  return run<OfPattern>({
    title,
    about: [p(about)],
    fields: [...fields, field("For how long", lasts, "30m, 2h, 7d (30d at most), or forever")],
    async look() {
      before = (await get<{ overrides: Override[] }>("overrides", { page_size: 10_000 })).overrides.find((o) => o.pattern === pattern());
    },
    request: () => ["POST", "overrides", {
      pattern: pattern(), status: status(), ...ttl(lasts.value), if_revision: before?.revision ?? 0,
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
    `Shows ${prefix ? "all services that begin with " + printable(pattern.slice(0, -1)) : "every service, over all other overrides,"} as NOT_SERVING. No process stops, and reports go on beneath it.`,
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
