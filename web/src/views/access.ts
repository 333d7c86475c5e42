// Who may do what: the caller, whether access is enforced, tokens, roles, grants.

import { get, onToken } from "../api";
import { revokeTokenDialog } from "../dialogs";
import { message } from "../dialog/advice";
import { field, input, p, select } from "../dialog/fields";
import { h, replace, type Child } from "../dom";
import { number } from "../format";
import { may, whoami } from "../me";
import type { AccessCheck, Auth, IdentityGrants, Role, Token, WhoAmI } from "../types";
import { enforcement, held } from "../words/access";
import { printable } from "../words/text";
import type { Ctx } from "../view";
import { button, by, command, ends, facts, listed, section } from "./parts";

// most is how many tokens, or identities, are shown at once.
const most = 100, week = 604_800;

// An answer, or why there is none.
type Got<T> = T | Error;

export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const me = h("div"), lists = h("div");
  const find = input({ type: "search", value: params.get("q") ?? "", "aria-label": "Find tokens and identities", placeholder: "Find" });
  let got: Record<string, Got<any>> = {}, mayRevoke = false;

  const some = <T>(path: string, heads: string, name: (t: T) => string, row: (t: T) => Child[]): HTMLElement => {
    const answer = got[path], title = path[0]!.toUpperCase() + path.slice(1);
    if (!answer || answer instanceof Error) return section(title, answer ? `Not shown: ${message(answer)}.` : "…");
    const list = (answer[path] as T[]).filter((t) => name(t).includes(find.value.trim()));
    return listed(title, heads, list.slice(0, most), row, `access-${path.slice(0, -1)}-row`, list.length > most && p(`and ${number(list.length - most)} more: find them by name`));
  };
  const draw = () => replace(lists,
    some<Token>("tokens", "Token|Id|May|Ends|Made by|", (t) => t.name + " " + t.id, (t) => [
      printable(t.name), t.id, held(t), ends(t.expire_time, week), by(t) + (t.description && "; " + printable(t.description)),
      mayRevoke && button("Revoke", t.name, "", async () => { if (await revokeTokenDialog(t)) void load(); }),
    ]),
    p("A token is made by a command, so that its secret is never in a browser: ", command("rollcall token create NAME --role reporter --on 'shop/*' --ttl 90d --out NAME.token --reason WHY")),
    some<IdentityGrants>("grants", "Identity|May|Set by", (g) => g.identity, (g) => [printable(g.identity), held(g), by(g)]),
    some<Role>("roles", "Role|May|Set by", () => find.value, (r) => [printable(r.name), r.verbs.join(", "), r.built_in ? "built in" : by(r)]));

  const load = async () => {
    const ask = <T>(asking: Promise<T>): Promise<Got<T>> => asking.catch((e) => e);
    const all = { page_size: 10_000 };
    const [who, auth, tokens, roles, grants, can] = await Promise.all([
      ask(whoami()), ask(get<{ auth: Auth }>("auth")), ask(get("tokens", all)), ask(get("roles")), ask(get("grants", all)), may("auth"),
    ]);
    got = { tokens, roles, grants };
    mayRevoke = can;
    replace(me, self(who), h("p.panel", auth instanceof Error ? (who instanceof Error || !who.enforced ? "" : "Access is enforced. ") + message(auth) : enforced(auth.auth)));
    draw();
  };

  find.addEventListener("input", () => { ctx.setParams({ q: find.value }); draw(); });
  const shown = () => { if (!document.hidden) void load(); };
  document.addEventListener("visibilitychange", shown);
  const off = onToken(shown);
  root.append(h("div.view", h("h1", "Access"), me, question(), h("section", find), lists));
  shown();
  return () => { off(); document.removeEventListener("visibilitychange", shown); };
}

function self(who: Got<WhoAmI>): HTMLElement {
  return who instanceof Error ? h("p.error", { role: "alert" }, "▲ " + message(who))
    : facts("You are", printable(who.identity), "Proved by", who.how, "You may", held(who), "Ends", ends(who.expires, week));
}

function enforced(a: Auth): string {
  return "Access" + enforcement(a).slice(6) + "." +
    (a.enforced ? "" : " Tokens and grants count from “rollcall auth enable” on. Before it, look for those that you do not know: anybody can have made them.") +
    (a.revision ? ` Set by ${by(a)}, revision ${a.revision}.` : "");
}

// question asks whether an identity may do something.
function question(): HTMLElement {
  const verb = select("report", ["read", "report", "override", "rules", "status", "cluster", "backup", "auth"]);
  const over = input({ placeholder: "everything" }), identity = input({ placeholder: "you" });
  const answer = h("p", { role: "status" });
  const ask = async (e: Event) => {
    e.preventDefault();
    answer.textContent = await get<AccessCheck>("access:check", { verb: verb.value, service: over.value.trim(), identity: identity.value.trim() }).then(
      (a) => `${a.allowed ? "● Yes" : "▲ No"}: ${printable(a.why)}.` + (a.enforced ? "" : " While access is not enforced, everybody may."),
      (e) => "▲ " + message(e));
  };
  return h("form", { autocomplete: "off", onSubmit: ask },
    h("h2", "Who may do what"),
    h("div.pair", field("May", identity), field("do", verb), field("over", over), h("button", "Ask")), answer);
}
