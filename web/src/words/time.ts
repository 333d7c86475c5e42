// Times and durations in words, as the command line writes them. now is in milliseconds, durations are in seconds.

const two = (n: number, digits = 2) => String(n).padStart(digits, "0");

/** The day of a time in this browser's zone: "2026-11-22". */
export const day = (t: string | number) => local(t).slice(0, 10);

/** A time in this browser's zone: "2026-11-22 14:50:00.123". */
export function local(t: string | number): string {
  const d = new Date(t);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${two(d.getMilliseconds(), 3)}`;
}

/** A time to the second, without the date if that is today's. */
export const stamp = (t: string | number, now = Date.now()) => local(t).slice(day(t) === day(now) ? 11 : 0, 19);

/** stamp, without seconds if the time is not near. */
export const clock = (now: number, t: string) => stamp(t, now).slice(0, Math.abs(Date.parse(t) - now) < 6e5 ? undefined : -3);

const units = "dhms";
const split = (s: number) => [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];

/** A duration in one unit: "26h", "3d". */
export function oneUnit(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 172800 && s >= 3600) return `${Math.floor(s / 3600)}h`;
  const parts = split(s), i = s < 60 ? 3 : s < 3600 ? 2 : 0;
  return parts[i]! + units[i]!;
}

/** How old something of a time is. */
export const age = (now: number, t: string) => oneUnit((now - Date.parse(t)) / 1000);

/** How far away a time is: "12s ago", "in 5m". What is less than a second ago is now, and so is what is a little ahead: clocks differ. */
export function ago(t: string | number, now = Date.now()): string {
  const s = (now - +new Date(t)) / 1000;
  return s < -60 ? "in " + oneUnit(-s) : s < 1 ? "now" : oneUnit(s) + " ago";
}

/** A duration in its two largest units: "7.2s", "56m3s", "26d3h". */
export function twoUnits(s: number): string {
  if (s < 1) return s < 0.001 ? "0s" : `${Math.floor(s * 1000)}ms`;
  if (s < 60) return `${Math.floor(s * 10) / 10}s`;
  const parts = split(Math.floor(s)), i = parts.findIndex(Boolean);
  return `${parts[i]}${units[i]}${parts[i + 1]}${units[i + 1]}`;
}

/** twoUnits of whole seconds, without a second unit of nothing: "56m". */
export const remaining = (s: number) => twoUnits(Math.floor(s)).replace(/([mhd])0.$/, "$1");

/** How far ahead a time is: "in 23h55m"; "soon" if it has passed. */
export const ahead = (now: number, t: string) => (Date.parse(t) > now ? `in ${remaining((Date.parse(t) - now) / 1000)}` : "soon");

/** A duration exactly, as flags read it: "30d", "1d12h", "1m30s". */
export function duration(s: number): string {
  if (s && s < 1) return `${+(s * 1000).toFixed(6)}ms`;
  const parts = split(s);
  return parts.map((n, i) => (n || (i === 2 && parts[1] && parts[3]) ? +n.toFixed(9) + units[i]! : "")).join("") || "0";
}
