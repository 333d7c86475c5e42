// Who one is, and the box for a token. The token is kept for this tab alone: closing it signs out.
import { setToken, token } from "./api";
import { h, replace } from "./dom";
import { refreshMe, whoami } from "./me";
import { time } from "./format";

export async function loginBox(): Promise<void> {
  const facts = h("div.facts-list", "…");
  const error = h("p.error", { role: "alert", hidden: true });
  const input = h("input@token-input", {
    id: "token", type: "password", name: "token", autocomplete: "off", spellcheck: "false", placeholder: "rct_…", "aria-describedby": "token-help",
  });
  const out = h("button", { type: "button", hidden: token() === "", onClick: () => void use("") }, "Sign out");

  const show = async (): Promise<void> => {
    try {
      const w = await whoami();
      replace(facts,
        h("p", "This node takes you for ", h("b", w.identity), `: you showed ${w.how}.`),
        w.expires ? h("p", "Valid until ", time(w.expires), ".") : null,
        w.enforced
          ? w.grants.length === 0
            ? h("p", "You have no role of your own.")
            : h("ul", ...w.grants.map((g) => h("li", h("b", g.role), " over " + g.patterns.join(", "))))
          : h("p", "Access is not enforced in this cluster: everybody may do everything."),
      );
    } catch (e) {
      replace(facts, h("p", (e as Error).message));
    }
  };

  const use = async (t: string): Promise<void> => {
    const before = token();
    error.hidden = true;
    try {
      setToken(t);
      refreshMe();
      await whoami();
      dialog.close();
    } catch (e) {
      setToken(before); // what worked goes on to work
      error.textContent = (e as Error).message;
      error.hidden = false;
      input.focus();
    }
  };

  const dialog = h("dialog.dialog@dialog", { "aria-labelledby": "login-title" },
    h("form", {
      onSubmit: (e: Event) => {
        e.preventDefault();
        const t = input.value.trim();
        if (t) void use(t);
        else input.focus();
      },
    },
      h("h2", { id: "login-title" }, "Who you are"),
      facts,
      h("label", { for: "token" }, "Token"),
      input,
      h("p", { id: "token-help", class: "muted" }, "The text that begins with rct_. It is kept for this tab alone and ends with it."),
      error,
      h("div.buttons", out, h("button", { type: "button", onClick: () => dialog.close() }, "Close"), h("button", { type: "submit", class: "primary" }, "Sign in")),
    ),
  );
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  input.focus();
  await show();
}
