// Makes elements. Text is always a text node: nothing that comes from the registry is ever read as HTML.

export type Child = Node | string | number | null | undefined | false;
export type Attrs = Record<string, unknown>;

// Attributes that are set as properties: what the element shows follows the property alone.
const properties = new Set(["value", "checked", "disabled", "open", "tabIndex", "hidden", "textContent", "indeterminate", "selected"]);

function set(el: Element, name: string, value: unknown): void {
  if (value === null || value === undefined) return;
  if (name.startsWith("on") && typeof value === "function") {
    el.addEventListener(name.slice(2).toLowerCase(), value as EventListener);
  } else if (properties.has(name)) {
    (el as unknown as Attrs)[name] = value;
  } else if (value === true && !name.startsWith("aria-")) {
    el.setAttribute(name, "");
  } else if (value !== false || name.startsWith("aria-")) {
    el.setAttribute(name, String(value));
  }
}

function add(el: Element, children: Child[]): void {
  for (const c of children) {
    if (c !== null && c !== undefined && c !== false) el.append(typeof c === "number" ? String(c) : c);
  }
}

type Tag<K> = K extends `${infer T}.${string}` ? T : K extends `${infer T}@${string}` ? T : K;
type Made<K> = Tag<K> extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag<K>] : HTMLElement;

// h makes an element: "p", "p.error" with a class, "p@problem" with a data-test attribute. What follows is its attributes, or
// its first child. "class", "aria-*", "data-*" and other names are attributes, "on*" are listeners; value, checked, disabled,
// open, hidden and tabIndex are properties. What is null or undefined is left out.
export function h<K extends string>(kind: K, attrs?: Attrs | Child, ...children: Child[]): Made<K> {
  const [, tag, classes, test] = /^(\w+)(?:\.([^@]+))?(?:@(.+))?/.exec(kind)!;
  const el = document.createElement(tag!);
  if (classes) el.className = classes.replaceAll(".", " ");
  if (test) el.dataset.test = test;
  const plain = attrs && typeof attrs === "object" && !(attrs instanceof Node);
  add(el, plain ? children : [attrs as Child, ...children]);
  if (plain) for (const name in attrs) set(el, name, attrs[name]); // after the children: a select's value needs its options
  return el as Made<K>;
}

// svg is h for the shapes of SVG.
export function svg(tag: string, attrs?: Attrs | null, ...children: Child[]): SVGElement {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  add(el, children);
  for (const name in attrs) set(el, name, attrs[name]);
  return el;
}

// replace gives el these children and no others.
export function replace(el: Element, ...children: Child[]): void {
  el.replaceChildren();
  add(el, children);
}

// text sets the text of el if it is another: nothing is laid out again for what stays as it is.
export function text(el: Element, value: string): void {
  if (el.textContent !== value) el.textContent = value;
}

let region: HTMLElement | undefined;
let spoken = 0;

// announce has screen readers say a text, when they have said what they are at.
export function announce(message: string): void {
  if (!region) {
    region = h("div", { class: "sr-only", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  clearTimeout(spoken);
  const to = region;
  to.textContent = ""; // the same text twice is said twice
  spoken = setTimeout(() => {
    to.textContent = message;
  }, 50);
}
