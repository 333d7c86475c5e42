// The way of every change: fill in, check by a dry run, see what would change, apply.

import { announce, h, replace, type Child } from "../dom";
import { ApiError, requestID, send } from "../api";
import { whoami } from "../me";
import type { BrokenRule } from "../types";
import { count, printable } from "../words/text";
import { advice, message } from "./advice";
import { field, input, p, tick } from "./fields";

/** What a change answers, or its dry run. */
export interface Answer {
  changed?: boolean; // false: it is so already
  revision?: number;
  broken_rules?: BrokenRule[];
}

export interface Intent<A> {
  title: string;
  about: Child[]; // what the change does
  fields?: Child[];
  /** Looks at what there is now, before each check: a change is made only over what was shown. */
  look?(): Promise<void>;
  request(): [method: "PUT" | "POST" | "DELETE", path: string, fields?: object];
  /** Says what a dry run answered. */
  preview?(a: A): Child[] | Promise<Child[]>;
  /** There is no dry run, no reason and no request id of it. */
  plain?: boolean;
  verb: string; // of the button that does it
  done?(a: A): string;
}

// A refusal with one of these codes was decided by the registry itself: it is the answer of every try of that request.
const decided = ["FAILED_PRECONDITION", "ABORTED", "ALREADY_EXISTS", "NOT_FOUND"];

// The name that a caller without an identity gave is kept as long as the tab.
let named = "";
let serial = 0;

/** Opens the dialog; when it closes, true if the change was made, or may have been. */
export function run<A extends Answer>(i: Intent<A>): Promise<boolean> {
  const id = "d" + ++serial;
  const reason = input({ "data-test": "dialog-reason", required: true, maxlength: 1024 });
  const actor = input({ maxlength: 256, value: named });
  const who = h("div");
  const result = h("section", { class: "dryrun", "data-test": "dialog-dryrun", tabindex: "-1", hidden: true });
  const error = h("p", { class: "error", "data-test": "dialog-error", role: "alert", tabindex: "-1", hidden: true });
  const fields = h("fieldset", { "aria-label": i.title }, ...(i.fields ?? []), ...(i.plain ? [] : [field("Reason", reason, "It stands in the history."), who]));
  const close = (label: string) => h("button", { type: "button", "data-test": "dialog-close", onClick: () => dialog.close() }, label);
  const check = h("button", { "data-test": "dialog-check" }, "Check");
  const apply = h("button", { type: i.plain ? "submit" : "button", class: "primary", "data-test": "dialog-submit" }, i.verb);
  const form = h("form", { autocomplete: "off" },
    h("h2", { id: id + "t" }, i.title), h("div", { id }, ...i.about), fields, result, error,
    h("div", { class: "buttons" }, close("Cancel"), !i.plain && check, apply));
  const dialog = h("dialog", { class: "dialog change", "data-test": "dialog", "aria-labelledby": id + "t", "aria-describedby": id }, form);

  let checked: Record<string, unknown> | null = i.plain ? {} : null; // what apply would send
  let glass: { tick: HTMLInputElement; why: HTMLInputElement; rules: string[] } | null = null;
  let requestId = "";
  let busy = false, applying = false, maybe = false, made = false;

  const show = (el: HTMLElement, ...children: Child[]) => {
    replace(el, ...children);
    el.hidden = false;
    el.focus();
  };
  const refresh = () => {
    const locked = busy || maybe;
    fields.disabled = check.disabled = locked;
    if (glass) glass.tick.disabled = glass.why.disabled = locked;
    apply.disabled = busy || !checked || (glass !== null && !(glass.tick.checked && glass.why.value.trim()));
    dialog.setAttribute("aria-busy", String(busy));
  };
  const forget = () => {
    if (i.plain) return;
    checked = glass = null;
    result.hidden = true;
    requestId = "";
  };
  const call = (c: object): Promise<A> => {
    const [method, path, rest] = i.request();
    const all = { ...c, ...rest };
    return method === "DELETE" ? send<A>(method, path, undefined, all as Record<string, string>) : send<A>(method, path, all);
  };

  async function look() {
    named = actor.value.trim();
    const c = { reason: reason.value.trim(), ...(named && { actor: named }) };
    const dry = { ...c, validate_only: true };
    let broken: BrokenRule[] = [], names: string[] = [], answer: A;
    await i.look?.();
    try {
      answer = await call(dry);
    } catch (e) {
      if (!(e instanceof ApiError) || e.reason !== "RULE_BROKEN") throw e;
      broken = e.details.broken_rules ?? [];
      names = e.details.more_broken_rules || !broken.length ? ["*"] : broken.map((r) => r.rule);
      show(result, list(broken, "would "));
      answer = await call({ ...dry, break_glass: names }); // what would change if they may be broken
    }
    broken = answer.broken_rules ?? broken;
    const idle = answer.changed === false;
    const children = [...(idle ? [p("It is so already: nothing would change.")] : await i.preview?.(answer) ?? [p("Nothing stands against it.")]), broken.length > 0 && list(broken, "would ")];
    if (names.length) {
      glass = { tick: h("input", { type: "checkbox" }), why: input({ maxlength: 400 }), rules: names };
      children.push(tick(glass.tick, "Break them all the same"), field("Why they may be broken", glass.why));
    }
    if (!idle) checked = c;
    show(result, ...children);
    announce(result.innerText);
  }

  async function change() {
    applying = true;
    const c = { ...checked };
    if (!i.plain) c.request_id = requestId ||= requestID();
    if (glass) {
      c.break_glass = glass.rules;
      c.reason += "; rules may be broken: " + glass.why.value.trim();
    }
    try {
      const a = await call(c);
      made = true;
      const text = i.done?.(a) ?? `${i.title}: done, revision ${a.revision}.`;
      const end = close("Close");
      replace(form, h("h2", { id: id + "t" }, "Done"), h("p", { id, "data-test": "dialog-done" }, text),
        a.broken_rules?.length ? list(a.broken_rules, "") : null, h("div", { class: "buttons" }, end));
      announce(text);
      end.focus();
    } catch (e) {
      if (e instanceof ApiError && e.written === "no" && (!maybe || decided.includes(e.code))) {
        maybe = false;
        apply.textContent = i.verb;
        forget();
        throw e;
      }
      maybe = true;
      apply.textContent = "Try again";
      show(error, `It is not known whether the change was made: ${message(e)}. It may have been, or may still be. `, i.plain
        ? "Look at what there is now before you try again."
        : "“Try again” sends the same change with the same id: within ten minutes it is made once, however often you try.");
    } finally {
      applying = false;
    }
  }

  // Runs one step at a time, so that a double click does nothing twice.
  async function step(what: () => Promise<void>) {
    if (busy) return;
    busy = true;
    error.hidden = true;
    refresh();
    try {
      await what();
    } catch (e) {
      show(error, `Nothing was changed: ${message(e)}. ${advice(e)}`);
    } finally {
      busy = false;
      refresh();
    }
  }

  form.addEventListener("submit", (e) => {
    e.preventDefault();
    forget();
    void step(i.plain ? change : look);
  });
  if (!i.plain) apply.addEventListener("click", () => void step(change));
  form.addEventListener("input", (e) => {
    if (!result.contains(e.target as Node)) forget();
    refresh();
  });
  // While an answer is awaited, the first Escape only says so.
  dialog.addEventListener("cancel", (e) => {
    if (!applying || !e.cancelable) return;
    e.preventDefault();
    show(error, "The answer is not there yet. If you close now, the history shows whether the change was made.");
  });

  const back = document.activeElement as HTMLElement;
  document.body.append(dialog);
  refresh();
  if (!i.plain) {
    const ask = (me: string) => {
      actor.required = !me;
      replace(who, field(me ? `For whom ${me} acts, if for another` : "Your name", actor, !me && "You proved no identity, so the name is not verified."));
    };
    whoami().then((me) => ask(me.identity === "anonymous" ? "" : me.identity), () => ask(""));
  }
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    (back.isConnected ? back : document.getElementById("main"))?.focus();
    resolve(made || maybe || applying);
  }));
}

// list names rules. would: "would ", or "" if it is done.
function list(broken: BrokenRule[], would: string): HTMLElement {
  return h("div", { class: "broken" }, p(`▲ It ${would ? "would break" : "broke"} ${count(broken.length, "rule")}:`),
    h("ul", null, ...broken.map((r) => h("li", { "data-test": "broken-rule" }, h("b", null, printable(r.rule)),
      ` (${printable(r.pattern)}): ${r.needed} needed, ${r.serving} of ${r.total} ${would}serve`))));
}
