import type { Actor } from "../types";

// What does not show, or changes how the rest shows, as the command line has it (docs/names.md).
const hidden = /[\p{C}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800\ufffc\ufffd\u{16fe4}\u{1d159}]|(?! )\p{Zs}/u;
const hiddenOrBackslash = new RegExp(`\\\\|${hidden.source}`, "gu");

/** Escapes what does not show, so that nobody can pass off one text as another. */
export function printable(s: string): string {
  return hidden.test(s) ? s.replace(hiddenOrBackslash, escape) : s;
}

function escape(c: string): string {
  const code = c.codePointAt(0)!;
  const short = { 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\" }[code];
  const hex = (letter: string, digits: number) => `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  return short ?? (code < 0x80 ? hex("x", 2) : code < 0x10000 ? hex("u", 4) : hex("U", 8));
}

/** A service's name; the empty one is two quotes. */
export const service = (name: string) => (name === "" ? '""' : printable(name));

/** Says that nodes answer for this name themselves: it has no record and no history. */
export const isOwn = (name: string) => name === "" || name.startsWith("rollcall.");

/** Says whether a pattern covers a service. */
export function covers(pattern: string, name: string): boolean {
  if (isOwn(name)) return false;
  if (pattern === "*" || pattern === "**") return true;
  return /[/.]\*$/.test(pattern) ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/** Who made a change: "ann@laptop", "token:ci for ann@laptop"; "" if nobody is known. */
export function actor(a?: Actor): string {
  if (!a) return "";
  return printable(a.name) + (a.on_behalf_of ? ` for ${printable(a.on_behalf_of)}` : "");
}

export const who = (a?: Actor) => (a?.name ? actor(a) : "somebody");
export const by = (a?: Actor) => (a?.name ? ` by ${actor(a)}` : "");

/** 1234567 as 1,234,567. */
export const grouped = (n: number) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

/** A number with its noun: "1 service", "2 services". */
export const count = (n: number, noun: string) => `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;

/** Ends a line with the reason that somebody gave, if any. */
export const sentence = (line: string, reason?: string) => line + (reason ? `: ${printable(reason)}.` : ".");

/** An argument of a command, as a shell takes it. */
export const quoted = (argument: string) => (/^[\w@%+:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`);
