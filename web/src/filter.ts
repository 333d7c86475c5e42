// What the person wants to see: words that names have or have not, and statuses.
import type { Status } from "./types";

export interface Filter {
  empty: boolean;
  name(name: string): boolean; // whether the name fits
  status(s: Status): boolean; // whether the status fits
}

export const help: [string, string][] = [
  ["cart eu", "both words stand in the name"],
  ["-test", "this word does not"],
  ["^shop/", "the name begins so"],
  ["/cart$", "the name ends so"],
];

// parseFilter reads the text of the filter, and the statuses that are chosen; none: all.
export function parseFilter(text: string, statuses: string): Filter {
  const tests: ((lower: string) => boolean)[] = [];
  for (const word of text.toLowerCase().split(/\s+/)) {
    const not = word.startsWith("-");
    let w = not ? word.slice(1) : word;
    const begin = w.startsWith("^"), end = w.endsWith("$");
    if (begin) w = w.slice(1);
    if (end) w = w.slice(0, -1);
    if (w === "") continue;
    const fits = (n: string) => (begin && end ? n === w : begin ? n.startsWith(w) : end ? n.endsWith(w) : n.includes(w));
    tests.push(not ? (n) => !fits(n) : fits);
  }
  const chosen = new Set(statuses.split(",").filter(Boolean));
  return {
    empty: tests.length === 0 && chosen.size === 0,
    name(name) {
      if (tests.length === 0) return true;
      const lower = name.toLowerCase();
      return tests.every((t) => t(lower));
    },
    status: (s) => chosen.size === 0 || chosen.has(s),
  };
}
