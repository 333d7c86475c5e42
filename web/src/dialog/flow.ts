// The way of every change: fill in, check by a dry run, see what would change, apply.

import { announce, h, replace, type Child } from "../dom";
import { ApiError, requestID, send } from "../api";
import { whoami } from "../me";
import type { BrokenRule } from "../types";
import { broken } from "../words/rule";
import { advice, message } from "./advice";
import { field, input, p } from "./fields";

// What a change answers, or its dry run.
export interface Answer {
  changed?: boolean; // false: it is so already
  changed_count?: number; // of a batch
  revision?: number;
  broken_rules?: BrokenRule[];
}

export interface Intent<A> {
  title: string;
  about: Child[]; // what the change does
  fields?: Child[];
  // look finds out what there is now, before each check: a change is made only over what the check showed.
  look?(): Promise<void>;
  request(): [method: "PUT" | "POST" | "DELETE", path: string, fields?: object];
  preview?(a: A): Child[]; // what a dry run answered
  plain?: boolean; // there is no dry run, no reason and no request id
  verb: string; // of the button that does it
  done?(a: A): string;
}

// The name that a caller without an identity gave is kept as long as the page.
let named = "";

// run opens the dialog. When it closes: whether the change was made, or may have been.
export function run<A extends Answer>(i: Intent<A>): Promise<boolean> {
  const { plain } = i;
  const reason = input({ "data-test": "dialog-reason", required: true, maxlength: 1024 });
  const actor = input({ maxlength: 256, value: named });
  const result = h("section.dryrun@dialog-dryrun", { tabindex: -1, hidden: true });
  const error = h("p.error@dialog-error", { role: "alert", tabindex: -1, hidden: true });
  const fields = h("fieldset", ...(i.fields ?? []), ...(plain ? [] : [field("Reason", reason, "It stands in the history."), field("Your name", actor, "Not verified, unless you signed in.")]), result);
  const close = (label: string) => h("button@dialog-close", { type: "button", onClick: () => dialog.close() }, label);
  const check = h("button@dialog-check", "Check");
  const apply = h("button.primary@dialog-submit", { type: plain ? "submit" : "button" }, i.verb);
  const form = h("form", { autocomplete: "off" },
    h("h2", { id: "change" }, i.title), h("div", { id: "about" }, ...i.about), fields, error,
    h("div.buttons", close("Cancel"), !plain && check, apply));
  const dialog = h("dialog.dialog change@dialog", { "aria-labelledby": "change", "aria-describedby": "about" }, form);

  let checked: Record<string, unknown> | null = plain ? {} : null; // what apply would send
  let why: HTMLInputElement | null, rules: string[]; // that may be broken, if the check says that some would be
  let request = "";
  let busy = false, applying = false, maybe = false, made = false;

  const show = (el: HTMLElement, ...children: Child[]) => {
    replace(el, ...children);
    el.hidden = false;
    el.focus();
  };
  const refresh = () => {
    fields.disabled = check.disabled = busy || maybe;
    apply.disabled = busy || !checked;
  };
  const forget = () => {
    if (plain) return;
    checked = why = null;
    replace(result);
    result.hidden = true;
    request = "";
  };
  const call = (common: object): Promise<A> => {
    const [method, path, rest] = i.request();
    const all = { ...common, ...rest };
    return method === "DELETE" ? send(method, path, undefined, all) : send(method, path, all);
  };

  async function look() {
    named = actor.value.trim();
    const common = { reason: reason.value.trim(), actor: named || undefined };
    const dry = { ...common, validate_only: true };
    let would: BrokenRule[] | undefined, answer: A, glass: Child[] = [];
    await i.look?.();
    try {
      answer = await call(dry);
    } catch (e) {
      if (!(e instanceof ApiError) || e.reason !== "RULE_BROKEN") throw e;
      would = e.details.broken_rules as BrokenRule[];
      rules = e.details.more_broken_rules ? ["*"] : would.map((r) => r.rule);
      show(result, list(would, "would "));
      answer = await call({ ...dry, break_glass: rules }); // what would change if they may be broken
      why = input({ maxlength: 400, required: true });
      glass = [h("label.tick", h("input", { type: "checkbox", required: true }), " Break the rules all the same"), field("Why they may be broken", why)];
    }
    const idle = answer.changed === false || answer.changed_count === 0;
    show(result, ...(idle ? [p("It is so already: nothing would change.")] : i.preview?.(answer) ?? [p("Nothing stands against it.")]),
      list(answer.broken_rules ?? would, "would "), ...glass);
    if (!idle) checked = common;
  }

  async function change() {
    applying = true;
    const all = { ...checked };
    if (!plain) all.request_id = request ||= requestID();
    if (why) {
      all.break_glass = rules;
      all.reason += "; rules may be broken: " + why.value.trim();
    }
    try {
      const a = await call(all);
      made = true;
      const text = i.done?.(a) ?? `${i.title}: done, revision ${a.revision}.`, end = close("Close");
      replace(form, h("h2", { id: "change" }, "Done"), h("p@dialog-done", { id: "about" }, text), list(a.broken_rules, ""), h("div.buttons", end));
      announce(text);
      end.focus();
    } catch (e) {
      // Once the outcome of a try is unknown, only what the registry itself decided is the answer of all tries.
      if ((e as ApiError).written === "no" && (!maybe || /^(FAILED_PRE|ABORTED|ALREADY|NOT_FOUND)/.test((e as ApiError).code))) {
        maybe = false;
        apply.textContent = i.verb;
        forget();
        throw e;
      }
      maybe = true;
      apply.textContent = "Try again";
      show(error, `It is not known whether the change was made: ${message(e)}. It may still be. `, plain
        ? "Look at what there is now before you try again."
        : "“Try again” sends it with the same id: within ten minutes it is made once, however often you try.");
    } finally {
      applying = false;
    }
  }

  // step runs one step at a time, so that a double click does nothing twice.
  async function step(what: () => Promise<void>) {
    if (busy) return;
    busy = true;
    error.hidden = true;
    refresh();
    try {
      await what();
    } catch (e) {
      show(error, `Nothing was changed: ${message(e)}. ${advice(e)}`);
    }
    busy = false;
    refresh();
  }

  form.addEventListener("submit", (e) => {
    e.preventDefault();
    forget();
    void step(plain ? change : look);
  });
  if (!plain) apply.addEventListener("click", () => form.reportValidity() && void step(change));
  form.addEventListener("input", (e) => {
    if (!result.contains(e.target as Node)) forget();
    refresh();
  });
  // While an answer is awaited, the first Escape does nothing.
  dialog.addEventListener("cancel", (e) => applying && e.preventDefault());

  actor.required = true;
  whoami().then((me) => { actor.required = me.identity === "anonymous"; }, () => {});
  const back = document.activeElement as HTMLElement;
  document.body.append(dialog);
  refresh();
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    (back.isConnected ? back : document.getElementById("main"))?.focus();
    resolve(made || maybe || applying);
  }));
}

// list names rules. would: "would ", or "" if it is done.
function list(rules: BrokenRule[] | undefined, would: "would " | ""): Child {
  return rules?.length && h("div.broken", `▲ It ${would ? "would break" : "broke"}:`,
    h("ul", ...rules.map((r) => h("li@broken-rule", broken([r], `${would}serve`)))));
}
