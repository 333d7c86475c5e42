import type { Query } from "../api";
import { h, text } from "../dom";
import type { Event } from "../types";
import { covers } from "../words/text";
import { local } from "../words/time";

const fields = { service: "Service", prefix: "Names that begin with", actor: "Actor", from: "From", to: "To" };
const types = "reported deleted expired override-set override-cleared override-expired rule-set rule-removed lease-granted lease-ending lease-ended lease-forgotten lease-guard member-changed member-removed access-changed".split(" ");

/** Which events are shown, as the address has it. from and to are times, type is a list with commas. */
export type Filter = Record<keyof typeof fields | "type", string>;

export const readFilter = (p: URLSearchParams) => Object.fromEntries([...Object.keys(fields), "type"].map((k) => [k, p.get(k) ?? ""])) as Filter;

/** The filter as ListEvents takes it. */
export function queryOf({ service, prefix, actor, from, to, type }: Filter): Query {
  return { service: service || null, prefixes: prefix && !service ? [prefix] : [], actor: actor || null, from_time: from || null, to_time: to || null, types: type.split(",").filter(Boolean) };
}

/** Says whether an event of a stream is wanted: a stream is filtered by prefix alone. */
export function matches({ service, actor, type }: Filter, e: Event): boolean {
  const about = e.type.startsWith("override") ? covers(e.pattern!, service) : e.service === service;
  return (!service || about) && (!actor || [e.actor?.name, e.actor?.on_behalf_of].includes(actor)) && (!type || type.split(",").includes(e.type));
}

/** The fields of the filter. change is called when the person has changed one. */
export function filterForm(f: Filter, change: () => void): HTMLElement {
  const summary = h("summary");
  const changed = () => {
    f.type = "";
    for (const i of form.querySelectorAll("input")) {
      const key = i.name as keyof Filter;
      if (key !== "type") f[key] = i.value && i.step ? new Date(i.value).toISOString() : i.value;
      else if (i.checked) f.type += (f.type && ",") + i.value;
    }
    say();
    change();
  };
  const say = () => text(summary, `Types: ${f.type.replaceAll(",", ", ") || "all"}`);
  const form = h(
    "form",
    { class: "filter", role: "search", "data-test": "events-filter", onChange: changed, onReset: () => setTimeout(changed), onSubmit: (e: globalThis.Event) => e.preventDefault() },
    ...Object.entries(fields).map(([name, words]) => {
      const value = f[name as keyof Filter], of = /^(from|to)$/.test(name) ? { type: "datetime-local", step: 1 } : {};
      const input = h("input", { name, ...of });
      input.value = value && "step" in of ? local(value).slice(0, 19).replace(" ", "T") : value;
      return h("label", words, input);
    }),
    h("details", summary, ...types.map((t) => h("label", h("input", { type: "checkbox", name: "type", value: t, checked: f.type.split(",").includes(t) }), t))),
    h("button", { type: "reset" }, "Clear"),
  );
  say();
  return form;
}
