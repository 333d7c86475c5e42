// How the page shows statuses, times and numbers. words/time.ts has the words of times.
import { h } from "./dom";
import type { Status } from "./types";
import { ago, stamp } from "./words/time";

// Every status has a shape and a word beside its colour.
export const shapes: Record<Status, string> = { SERVING: "●", NOT_SERVING: "▲", UNKNOWN: "◆", SERVICE_UNKNOWN: "○" };

// worstFirst is the order in which statuses matter.
export const worstFirst: Status[] = ["NOT_SERVING", "UNKNOWN", "SERVING", "SERVICE_UNKNOWN"];

// known returns a status that the page has a shape for: a newer node may have others.
export function known(s: string | undefined): Status {
  return s !== undefined && s in shapes ? (s as Status) : "UNKNOWN";
}

// statusBadge shows a status as shape and word.
export function statusBadge(status: Status, attrs: Record<string, unknown> = {}): HTMLElement {
  return h("span", { ...attrs, class: "status s-" + status.toLowerCase() }, h("span.shape", { "aria-hidden": "true" }, shapes[known(status)]), " " + status);
}

// time shows a point in time, and when pointed at, exactly as the node wrote it.
export function time(t: string | undefined, relative = false): HTMLElement {
  const ms = Date.parse(t ?? "");
  if (!t || Number.isNaN(ms)) return h("span", "–");
  const el = h("time", { datetime: t, title: t }, relative ? ago(ms) : stamp(ms));
  if (relative) el.dataset.ago = String(ms);
  return el;
}

// refreshAges writes the ages of all times below el anew.
export function refreshAges(el: ParentNode): void {
  const now = Date.now();
  for (const t of el.querySelectorAll<HTMLElement>("time[data-ago]")) {
    const words = ago(Number(t.dataset.ago), now);
    if (t.textContent !== words) t.textContent = words;
  }
}

// number writes 100000 as "100,000".
export function number(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function plural(n: number, one: string, many = one + "s"): string {
  return `${number(n)} ${n === 1 ? one : many}`;
}

// bytes writes a size: "8.4 MB".
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i > 0 && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}
