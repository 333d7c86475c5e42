// What the views of the cluster and of access are made of.

import { announce, h, type Child } from "../dom";
import { time } from "../format";
import type { Actor } from "../types";
import { actor, printable } from "../words/text";
import { remaining } from "../words/time";

export type Fact = [term: string, value: Child, tone?: string];

// facts is a list of terms and what is known of each. What is undefined is not known.
export function facts(...list: Fact[]): HTMLElement {
  return h("dl", null, ...list.flatMap(([term, value, tone]) => [h("dt", null, term), h("dd", { class: tone || null }, value === undefined ? "unknown" : value)]));
}

// table has its rows stacked where there is no room: then each cell says its own head.
export function table(label: string, heads: string[], rows: Child[][], test?: string): HTMLElement {
  return h("table", { class: "stack", "aria-label": label },
    h("thead", null, h("tr", null, ...heads.map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, ...rows.map((cells) => h("tr", { "data-test": test }, ...cells.map((c, i) => h("td", { "data-head": heads[i] }, c))))));
}

// command is a command line to copy.
export function command(line: string): HTMLElement {
  return h("span", { class: "command", "data-key": line }, h("code", null, line),
    navigator.clipboard && button("Copy", line, "", () => void navigator.clipboard.writeText(line).then(() => announce("Copied."))));
}

// spoken shows a sentence of a node, in which commands are quoted.
export function spoken(text: string): Child[] {
  return printable(text).split(/"(rollcall [^"]*)"/).map((part, i) => (i % 2 ? command(part) : part));
}

// button has a key that says when it does something else than before.
export function button(label: string, about: string, key: unknown, act: () => void): HTMLElement {
  return h("button", { type: "button", "data-key": label + about + key, "aria-label": about && `${label} ${about}`, onClick: act }, label);
}

export function section(title: string, ...children: Child[]): HTMLElement {
  return h("section", null, h("h2", null, title), ...children);
}

// ends is when a certificate or a token ends, marked if that is near.
export function ends(at: string): HTMLElement {
  const left = (Date.parse(at) - Date.now()) / 1000;
  return h("span", { class: left < 604_800 && "error" }, left < 604_800 && "▲ ", time(at), left < 0 ? ", it has ended" : `, in ${remaining(left)}`);
}

// by is who made a record, and why.
export function by(x: { actor?: Actor; reason?: string }): string {
  return (actor(x.actor) || "–") + (x.reason ? ": " + printable(x.reason) : "");
}
