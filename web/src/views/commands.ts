import { announce, h } from "../dom";
import { quoted } from "../words/text";

/** Commands that show and do the same as the page, each with a button that copies it. */
export function commands(name: string, status: string, at?: number): HTMLElement[] {
  const q = quoted(name);
  return [at ? `get ${q} --at ${at}` : `why ${q}`, `history ${q}`, `set ${q} ${status} --reason WHY`, `override set ${q} ${status} --for 1h --reason WHY`].map((rest) => {
    const code = h("code", null, "rollcall " + rest);
    const copy = async () => {
      getSelection()!.selectAllChildren(code);
      // Browsers let a page write to the clipboard only over TLS and on this machine.
      await navigator.clipboard?.writeText(code.textContent!);
      announce(navigator.clipboard ? "copied" : "selected: press Control and C to copy");
    };
    return h("li", null, code, " ", h("button", { type: "button", onClick: copy }, "Copy"));
  });
}
