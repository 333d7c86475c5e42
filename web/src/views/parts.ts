// What the views of the cluster and of access are made of.

import { announce, h, type Child } from "../dom";
import { p } from "../dialog/fields";
import { time } from "../format";
import type { Actor } from "../types";
import { actor, printable } from "../words/text";
import { remaining } from "../words/time";

// facts is a list of terms, each followed by what is known. What is undefined is not known; ▲ marks what is wrong.
export function facts(...list: Child[]): HTMLElement {
  return h("dl", ...list.map((c, i) => i % 2
    ? h("dd", { class: String(c).startsWith("▲") && "error" }, c ?? "unknown")
    : h("dt", c)));
}

// table has its rows stacked where there is no room: then each cell says its own head.
function table(heads: string, rows: Child[][], test?: string): HTMLElement {
  const head = heads.split("|");
  return h("table", null,
    h("thead", h("tr", ...head.map((t) => h(t ? "th" : "td", null, t)))),
    h("tbody", ...rows.map((cells) => h("tr", { "data-test": test }, ...cells.map((c, i) => h("td", { "data-head": head[i] || null }, c))))));
}

// listed is a section with a table. A list that is undefined is not known.
export function listed<T>(title: string, heads: string, list: T[] | undefined, row: (t: T) => Child[], test?: string, ...more: Child[]): HTMLElement {
  return section(title, list?.length ? table(heads, list.map(row), test) : p(list ? "None." : "unknown"), ...more);
}

// command is a command line to copy.
export function command(line: string): HTMLElement {
  return h("span.command", { "data-key": line }, h("code", line),
    navigator.clipboard && button("Copy", line, "", () => void navigator.clipboard.writeText(line).then(() => announce("Copied."))));
}

// spoken shows a sentence of a node, in which commands are quoted.
export function spoken(text: string): Child[] {
  return printable(text).split(/"(rollcall [^"]*)"/).map((part, i) => (i % 2 ? command(part) : part));
}

// button does something to what it is about. A revision says when it does something else than before.
export function button(label: string, about: string, revision: unknown, act: () => void): HTMLElement {
  return h("button", { type: "button", "data-key": label + about + revision, "aria-label": about && `${label} ${about}`, onClick: act }, label);
}

export function section(title: string, ...children: Child[]): HTMLElement {
  return h("section", h("h2", title), ...children);
}

// ends is when something ends, marked if less than so many seconds are left.
export function ends(at: string | undefined, warn: number): Child {
  if (!at) return "never";
  const left = (Date.parse(at) - Date.now()) / 1000;
  return h("span", { class: left < warn && "error" }, left < warn && "▲ ", time(at), left < 0 ? ", it has ended" : `, in ${remaining(left)}`);
}

// by is who made a record, and why.
export function by(x: { actor?: Actor; reason?: string }): string {
  return (actor(x.actor) || "–") + (x.reason ? ": " + printable(x.reason) : "");
}
