// How the page writes what it shows: statuses, times, numbers, people.
import { h } from "./dom";
import type { Actor, Status } from "./types";

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

const steps: [number, string][] = [
  [60, "s"],
  [60, "m"],
  [24, "h"],
  [Infinity, "d"],
];

// duration is a length of time in its largest unit: "5 s", "3 h".
export function duration(seconds: number): string {
  let n = Math.max(0, Math.round(seconds));
  for (const [size, unit] of steps) {
    if (n < size) return `${n} ${unit}`;
    n = Math.floor(n / size);
  }
  return `${n} d`;
}

// ago says how long ago a time was: "12 s ago". A time that is a little ahead of this machine's clock is now.
export function ago(time: string | number | undefined, now = Date.now()): string {
  const ms = typeof time === "number" ? time : Date.parse(time ?? "");
  if (Number.isNaN(ms)) return "";
  const seconds = (now - ms) / 1000;
  if (seconds < -60) return "in " + duration(-seconds);
  return seconds < 1 ? "now" : duration(seconds) + " ago";
}

const two = (n: number) => String(n).padStart(2, "0");

// stamp is a point in time as this machine's clock has it: "14:03:07" today, else with the date.
export function stamp(ms: number, now = Date.now()): string {
  const d = new Date(ms), today = new Date(now);
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  if (d.toDateString() === today.toDateString()) return clock;
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock}`;
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

// actor says who did something, and how sure that is.
export function actor(a: Actor | undefined): HTMLElement {
  if (!a || !a.name) return h("span.muted", "nobody in particular");
  const title = a.verified ? `${a.name} proved who it is, from ${a.peer}` : `${a.name} is what the caller at ${a.peer} said; it was not proved`;
  return h("span.actor", { title }, a.name, a.on_behalf_of ? ` for ${a.on_behalf_of}` : "", !a.verified && h("span.muted", " (not verified)"));
}
