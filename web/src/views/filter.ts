import type { Query } from "../api";
import { h, text } from "../dom";
import type { Event } from "../types";
import { covers } from "../words/text";
import { local } from "../words/time";

const fields = { service: "Service", prefix: "Names that begin with", actor: "Actor", from: "From", to: "To" };
const types = "reported deleted expired override-set override-cleared override-expired rule-set rule-removed lease-granted lease-ending lease-ended lease-forgotten lease-guard member-changed member-removed access-changed".split(" ");

/** Which events are shown, as the address has it. from and to are times or revisions; type is a list with commas. */
export type Filter = Record<keyof typeof fields | "type", string>;

export function readFilter(p: URLSearchParams): Filter {
  const f = { type: p.get("type") ?? "" } as Filter;
  for (const k in fields) f[k as keyof Filter] = p.get(k) ?? "";
  return f;
}

const isRevision = (s: string) => /^\d+$/.test(s);
const chosen = (f: Filter) => f.type.split(",").filter(Boolean);

/** The filter as ListEvents takes it. */
export function queryOf(f: Filter): Query {
  const q: Query = { types: chosen(f), service: f.service || null, prefixes: f.prefix && !f.service ? [f.prefix] : null, actor: f.actor || null };
  for (const k of ["from", "to"] as const) if (f[k]) q[k + (isRevision(f[k]) ? "_revision" : "_time")] = f[k];
  return q;
}

/** Says whether an event of a stream is wanted: a stream is filtered by prefix alone. */
export function matches(f: Filter, e: Event): boolean {
  const about = e.type.startsWith("override") ? covers(e.pattern!, f.service) : e.service === f.service;
  return (!f.service || about) && (!f.actor || [e.actor?.name, e.actor?.on_behalf_of].includes(f.actor)) && (!f.type || chosen(f).includes(e.type));
}

/** The fields of the filter. change is called when the person has changed one. */
export function filterForm(f: Filter, change: () => void): HTMLElement {
  const summary = h("summary"), revisions = h("span", { class: "muted" });
  const say = () => {
    text(summary, `Types: ${f.type.replaceAll(",", ", ") || "all"}`);
    text(revisions, (["from", "to"] as const).map((k) => (isRevision(f[k]) ? `${k} revision ${f[k]} ` : "")).join(""));
  };
  const changed = () => {
    for (const i of form.querySelectorAll("input")) {
      const key = i.name as keyof Filter;
      if (i.type !== "datetime-local") f[key] = i.type === "text" ? i.value : "";
      else if (i.value || !isRevision(f[key])) f[key] = i.value && new Date(i.value).toISOString();
    }
    f.type = [...form.querySelectorAll<HTMLInputElement>(":checked")].map((i) => i.value).join();
    say();
    change();
  };
  const clear = () => {
    f.from = f.to = "";
    for (const i of form.querySelectorAll("input")) i.type === "checkbox" ? (i.checked = false) : (i.value = "");
    changed();
  };
  const form = h(
    "form",
    { class: "filter", role: "search", "aria-label": "Which events", "data-test": "events-filter", onChange: changed, onSubmit: (e: globalThis.Event) => e.preventDefault() },
    ...Object.entries(fields).map(([name, words]) => {
      const time = /^(from|to)$/.test(name), value = f[name as keyof Filter];
      const shown = !time ? value : isRevision(value) || !value ? "" : local(value).slice(0, 19).replace(" ", "T");
      return h("label", null, words, h("input", { name, type: time ? "datetime-local" : "text", step: "1", value: shown, autocomplete: "off", spellcheck: "false" }));
    }),
    h("details", null, summary, ...types.map((t) => h("label", null, h("input", { type: "checkbox", name: "type", value: t, checked: chosen(f).includes(t) }), t))),
    h("button", { type: "button", onClick: clear }, "Clear"),
    revisions,
  );
  say();
  return form;
}
