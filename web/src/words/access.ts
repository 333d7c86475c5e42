// Who may do what, in the words of the command line.
import type { Auth, Grant } from "../types";
import { printable } from "./text";

// held says what an identity may do: "reporter on shop/* and pay, viewer on *".
export function held(g: { grants?: Grant[]; denied?: boolean }): string {
  const list = (g.grants ?? []).map((one) => `${printable(one.role)} on ${one.patterns.map(printable).join(" and ")}`).join(", ");
  return g.denied ? `denied everything${list && `, would have ${list}`}` : list || "nothing";
}

// enforcement says whether access is enforced, and what anonymous callers may do then.
export function enforcement(a: Auth): string {
  return `access is ${a.enforced ? `enforced; anonymous callers ${a.anonymous ? `have the role ${printable(a.anonymous)}` : "may do nothing"}` : "not enforced: everybody may do everything"}`;
}
