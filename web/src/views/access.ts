// Who may do what: the caller, whether access is enforced, tokens, roles, grants.

import { get, onToken } from "../api";
import { revokeTokenDialog } from "../dialogs";
import { field, input, p, select } from "../dialog/fields";
import { h, replace, type Child } from "../dom";
import { number } from "../format";
import { may, whoami } from "../me";
import type { AccessCheck, Auth, IdentityGrants, Role, Token, WhoAmI } from "../types";
import { enforcement, held } from "../words/change";
import { printable } from "../words/text";
import type { Ctx } from "../view";
import { button, by, command, ends, facts, section, table } from "./parts";

// most is how many tokens, or identities, are shown at once.
const most = 100;

// An answer, or why there is none.
type Got<T> = T | Error | undefined;

export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const me = h("div"), lists = h("div");
  const find = input({ type: "search", value: params.get("q") ?? "", "aria-label": "Find tokens and identities", placeholder: "Find" });
  let tokens: Got<Token[]>, roles: Got<Role[]>, grants: Got<IdentityGrants[]>, mayRevoke = false;

  const some = <T>(title: string, all: Got<T[]>, heads: string[], row: (t: T) => Child[], name: (t: T) => string, test?: string): HTMLElement => {
    if (!(all instanceof Array)) return section(title, p(all ? `Not shown: ${all.message}.` : "…"));
    const list = all.filter((t) => name(t).toLowerCase().includes(find.value.trim().toLowerCase()));
    return section(title, list.length ? table(title, heads, list.slice(0, most).map(row), test) : p("None."),
      list.length > most && p(`and ${number(list.length - most)} more: find them by name`));
  };
  const draw = () => replace(lists,
    some("Tokens", tokens, ["Token", "Id", "May", "Ends", "Made by", ""], (t) => [
      printable(t.name), t.id, held(t as never), t.expire_time ? ends(t.expire_time) : "never", by(t) + (t.description && "; " + printable(t.description)),
      mayRevoke && button("Revoke", t.name, "", () => void revokeTokenDialog(t).then((done) => { if (done) void load(); })),
    ], (t) => t.name + " " + t.id, "access-token-row"),
    p("A token is made by a command, so that its secret is never in a browser: ", command("rollcall token create NAME --role reporter --on 'shop/*' --ttl 90d --out NAME.token --reason WHY")),
    some("Grants", grants, ["Identity", "May", "Set by"], (g) => [printable(g.identity), held(g), by(g)], (g) => g.identity),
    some("Roles", roles, ["Role", "May", "Set by"], (r) => [printable(r.name), r.verbs.join(", "), r.built_in ? "built in" : by(r)], () => find.value));

  const load = async () => {
    const ask = <T>(asking: Promise<T>): Promise<T | Error> => asking.catch((e) => e as Error);
    const all = { page_size: 10_000 };
    const [who, auth, t, r, g, can] = await Promise.all([
      ask(whoami()), ask(get<{ auth: Auth }>("auth")), ask(get<{ tokens: Token[] }>("tokens", all)), ask(get<{ roles: Role[] }>("roles")),
      ask(get<{ grants: IdentityGrants[] }>("grants", all)), may("auth"),
    ]);
    tokens = t instanceof Error ? t : t.tokens;
    roles = r instanceof Error ? r : r.roles;
    grants = g instanceof Error ? g : g.grants;
    mayRevoke = can;
    replace(me, self(who), h("p", { class: "panel" }, auth instanceof Error ? auth.message : enforced(auth.auth)));
    draw();
  };

  find.addEventListener("input", () => { ctx.setParams({ q: find.value }); draw(); });
  const shown = () => { if (!document.hidden) void load(); };
  document.addEventListener("visibilitychange", shown);
  const off = onToken(() => void load());
  root.append(h("div", { class: "view" }, h("h1", null, "Access"), me, question(), h("section", null, find), lists));
  draw();
  void load();
  return () => { off(); document.removeEventListener("visibilitychange", shown); };
}

function self(who: WhoAmI | Error): HTMLElement {
  if (who instanceof Error) return h("p", { class: "error", role: "alert" }, "▲ " + who.message);
  return facts(["You are", printable(who.identity)], ["Proved by", who.how], ["You may", held(who as never)], ["Ends", who.expires ? ends(who.expires) : "never"]);
}

function enforced(a: Auth): string {
  const text = enforcement(a);
  return text[0]!.toUpperCase() + text.slice(1) + "." +
    (a.enforced ? "" : " Tokens and grants can be prepared, and count from “rollcall auth enable” on. Before that, look for those that you do not know: anybody can have made them.") +
    (a.revision ? ` Set by ${by(a)}, revision ${a.revision}.` : "");
}

// question asks whether an identity may do something.
function question(): HTMLElement {
  const verb = select(["read", "report", "override", "rules", "status", "cluster", "backup", "auth"], "report");
  const over = input({ placeholder: "everything" });
  const identity = input({ placeholder: "you" });
  const answer = h("p", { role: "status" });
  const ask = async () => {
    try {
      const a = await get<AccessCheck>("access:check", { verb: verb.value, service: over.value.trim(), identity: identity.value.trim() });
      answer.textContent = `${a.allowed ? "● Yes" : "▲ No"}: ${printable(a.why)}.` + (a.enforced ? "" : " While access is not enforced, everybody may.");
    } catch (e) {
      answer.textContent = "▲ " + (e as Error).message;
    }
  };
  return h("form", { class: "question", autocomplete: "off", onSubmit: (e: Event) => { e.preventDefault(); void ask(); } },
    h("h2", null, "Who may do what"),
    h("div", { class: "pair" }, field("May", identity), field("do", verb), field("over", over), h("button", null, "Ask")), answer);
}
