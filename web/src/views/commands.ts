import { announce, h } from "../dom";
import type { Status } from "../types";
import { quoted } from "../words/text";

/** Commands that show and do the same as the page, each with a button that copies it. */
export function commands(name: string, reported: Status | undefined, at?: number): HTMLElement[] {
  const q = quoted(name);
  const list = at
    ? [`rollcall get ${q} --at ${at}`]
    : [`rollcall why ${q}`, `rollcall set ${q} ${reported === "SERVING" ? "not_serving" : "serving"} --reason WHY`, `rollcall override set ${q} not_serving --for 1h --reason WHY`];
  return [...list, `rollcall history ${q}`].map((line) => {
    const code = h("code", null, line);
    const copy = () =>
      // Browsers let a page write to the clipboard only over TLS and on this machine.
      navigator.clipboard?.writeText(line).then(() => announce("copied")) ?? (getSelection()!.selectAllChildren(code), announce("selected: press Control and C to copy"));
    return h("li", null, code, " ", h("button", { type: "button", "aria-label": `Copy ${line}`, onClick: copy }, "Copy"));
  });
}
