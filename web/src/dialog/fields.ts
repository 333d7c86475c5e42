// The fields of a form. No browser is to fill them in with what somebody typed elsewhere.

import { h, type Attrs, type Child } from "../dom";

let serial = 0;

export const statuses = ["NOT_SERVING", "SERVING", "UNKNOWN"];

export function input(attrs: Attrs): HTMLInputElement {
  return h("input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...attrs });
}

// select has options, each its value or value and text.
export function select(value: string, options: (string | [value: string, text: string])[]): HTMLSelectElement {
  return h("select", { value }, ...options.map((o) => (typeof o === "string" ? h("option", o) : h("option", { value: o[0] }, o[1]))));
}

// field is a control with its label, and what to know about it.
export function field(label: string, control: HTMLElement, hint?: Child): HTMLElement {
  const id = (control.id = "f" + ++serial);
  if (hint) control.setAttribute("aria-describedby", id + "h");
  return h("div", h("label", { for: id }, label), control, hint && h("small", { id: id + "h" }, hint));
}

export function p(...children: Child[]): HTMLElement {
  return h("p", ...children);
}
