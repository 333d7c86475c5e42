import type { Actor } from "../types";

// What does not show, or changes how the rest shows, as the command line has it (docs/names.md).
const hidden = /[\p{C}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800\ufffc\ufffd\u{16fe4}\u{1d159}]|(?! )\p{Zs}/u;
const hiddenOrBackslash = new RegExp(`\\\\|${hidden.source}`, "gu");
const short: Record<string, string> = { "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\" };

/** Escapes what does not show, so that nobody can pass off one text as another. */
export function printable(s: string): string {
  return hidden.test(s) ? s.replace(hiddenOrBackslash, escape) : s;
}

function escape(c: string): string {
  const code = c.codePointAt(0)!;
  const [letter, digits] = code < 0x80 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return short[c] ?? `\\${letter}${code.toString(16).padStart(+digits!, "0")}`;
}

/** A service's name; the empty one is two quotes. */
export const service = (name: string) => printable(name) || '""';

/** Says whether a pattern covers a service. No pattern covers the nodes' own names. */
export function covers(pattern: string, name: string): boolean {
  if (/^$|^rollcall\./.test(name)) return false;
  return /^\*\*?$/.test(pattern) || (/[/.]\*$/.test(pattern) ? name.startsWith(pattern.slice(0, -1)) : pattern === name);
}

/** Who made a change: "ann@laptop", "token:ci for ann@laptop"; "" if nobody is known. */
export const actor = (a?: Actor) => (a ? printable(a.name) + (a.on_behalf_of && ` for ${printable(a.on_behalf_of)}`) : "");

export const who = (a?: Actor) => (a?.name ? actor(a) : "somebody");

/** Ends a line with the reason that somebody gave, if any. */
export const sentence = (line: string, reason?: string) => line + (reason ? `: ${printable(reason)}.` : ".");

/** An argument of a command, as a shell takes it. */
export const quoted = (argument: string) => (/^[\w@%+:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`);
