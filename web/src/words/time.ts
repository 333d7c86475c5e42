// Times and durations in words, as the command line writes them. now is in milliseconds, durations are in seconds.

const two = (n: number, digits = 2) => String(n).padStart(digits, "0");
const date = (d: Date) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

/** The day of a time in this browser's zone: "2026-11-22". */
export const day = (t: string) => date(new Date(t));

/** A time in this browser's zone: "2026-11-22 14:50:00.123". */
export function local(t: string | number): string {
  const d = new Date(t);
  return `${date(d)} ${seconds(d)}.${two(d.getMilliseconds(), 3)}`;
}

const minutes = (d: Date) => `${two(d.getHours())}:${two(d.getMinutes())}`;
const seconds = (d: Date) => `${minutes(d)}:${two(d.getSeconds())}`;

/** A time without the date if that is today's, and with seconds if it is near. */
export function clock(now: number, t: string): string {
  const d = new Date(t);
  const text = Math.abs(+d - now) < 600_000 ? seconds(d) : minutes(d);
  return date(d) === date(new Date(now)) ? text : `${date(d)} ${text}`;
}

/** How long ago, in one unit: "26h". */
export function age(now: number, t: string): string {
  const s = Math.max(0, Math.floor((now - Date.parse(t)) / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m`;
  return s < 172800 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
}

/** A duration in its two largest units: "7.2s", "56m3s", "26d3h". */
export function twoUnits(s: number): string {
  if (s < 1) return s < 0.001 ? "0s" : `${Math.floor(s * 1000)}ms`;
  if (s < 60) return `${Math.floor(s * 10) / 10}s`;
  const n = Math.floor(s);
  if (n < 3600) return `${Math.floor(n / 60)}m${n % 60}s`;
  if (n < 86400) return `${Math.floor(n / 3600)}h${Math.floor((n % 3600) / 60)}m`;
  return `${Math.floor(n / 86400)}d${Math.floor((n % 86400) / 3600)}h`;
}

/** twoUnits of whole seconds, without a second unit of nothing: "56m". */
export const remaining = (s: number) => twoUnits(Math.floor(s)).replace(/([mhd])0[smh]$/, "$1");

/** How far ahead a time is: "in 23h55m"; "soon" if it has passed. */
export const ahead = (now: number, t: string) => (Date.parse(t) > now ? `in ${remaining((Date.parse(t) - now) / 1000)}` : "soon");

/** A duration exactly, as flags read it: "30d", "1d12h", "1m30s". */
export function duration(s: number): string {
  if (s === 0) return "0";
  if (s < 1) return `${+(s * 1000).toFixed(6)}ms`;
  const d = Math.floor(s / 86400), h = Math.floor((s % 86400) / 3600), m = Math.floor((s % 3600) / 60), rest = +(s % 60).toFixed(9);
  return (d ? `${d}d` : "") + (h ? `${h}h` : "") + (m || (h && rest) ? `${m}m` : "") + (rest ? `${rest}s` : "");
}
