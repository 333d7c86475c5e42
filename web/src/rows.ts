// A list of which only the rows in sight are in the page, so that it may have a hundred thousand.
import { h, type Child } from "./dom";

export interface RowsOptions {
  label: string; // what is listed, for screen readers
  height: number; // of a row, in px; the style sheet has to keep to it
  count(): number;
  // key says all that a row shows: while it is the same, the row is not made anew. Two rows have not the same key.
  key(i: number): string;
  // cells are what the row holds: one element for each column.
  cells(i: number): Child[];
  class?(i: number): string;
  // open is called for a row that is clicked, or chosen with Enter.
  open?(i: number): void;
  test?: string; // data-test of the rows
}

export interface Rows {
  el: HTMLElement;
  refresh(): void; // after the rows changed
  show(i: number): void; // brings a row into sight and makes it the current one
  close(): void;
}

const beyond = 6; // rows that are made above and below what is in sight
let made = 0;

// rows makes a list: a grid with one tab stop, arrows, Home, End, Page Up, Page Down and Enter.
export function rows(o: RowsOptions): Rows {
  const id = "rows" + ++made;
  const body = h("div.rows-body", { role: "rowgroup" });
  const el = h("div.rows", { role: "grid", "aria-label": o.label, tabindex: "0", "aria-rowcount": "0" }, body);
  let current = -1, frame = 0, count = 0;
  let there = new Map<string, { el: HTMLElement; i: number }>();

  const draw = (): void => {
    frame = 0;
    const first = Math.max(0, Math.floor(el.scrollTop / o.height) - beyond);
    const last = Math.min(count, Math.ceil((el.scrollTop + el.clientHeight) / o.height) + beyond);
    const kept = new Map<string, { el: HTMLElement; i: number }>();
    const put = (i: number): void => {
      const key = o.key(i);
      let row = there.get(key);
      there.delete(key);
      if (!row) {
        const made = h("div", { class: "row " + (o.class?.(i) ?? ""), role: "row", "data-test": o.test });
        made.append(...o.cells(i).map((c) => h("span", { role: "gridcell" }, c)));
        body.append(made);
        row = { el: made, i: -1 };
      }
      if (row.i !== i) {
        row.i = i;
        row.el.style.transform = `translateY(${i * o.height}px)`;
        row.el.setAttribute("aria-rowindex", String(i + 1));
        row.el.id = `${id}-${i}`;
      }
      row.el.classList.toggle("current", i === current);
      kept.set(key, row);
    };
    for (let i = first; i < last; i++) put(i);
    if (current >= 0 && (current < first || current >= last)) put(current); // screen readers go by it
    for (const gone of there.values()) gone.el.remove();
    there = kept;
    if (current >= 0) el.setAttribute("aria-activedescendant", `${id}-${current}`);
    else el.removeAttribute("aria-activedescendant");
  };
  const later = (): void => {
    if (!frame) frame = requestAnimationFrame(draw);
  };

  const refresh = (): void => {
    const n = o.count();
    if (n !== count) {
      count = n;
      body.style.height = `${n * o.height}px`;
      el.setAttribute("aria-rowcount", String(n));
      if (current >= n) current = n - 1;
    }
    later();
  };

  const show = (i: number): void => {
    if (count === 0) return;
    current = Math.min(Math.max(i, 0), count - 1);
    const top = current * o.height;
    if (top < el.scrollTop) el.scrollTop = top;
    else if (top + o.height > el.scrollTop + el.clientHeight) el.scrollTop = top + o.height - el.clientHeight;
    later();
  };

  el.addEventListener("scroll", later, { passive: true });
  el.addEventListener("focus", () => {
    if (current < 0) show(Math.ceil(el.scrollTop / o.height));
  });
  el.addEventListener("keydown", (e) => {
    if (e.target !== el || e.altKey || e.ctrlKey || e.metaKey) return;
    const page = Math.max(1, Math.floor(el.clientHeight / o.height) - 1);
    const to: Record<string, number> = { ArrowDown: current + 1, ArrowUp: current - 1, PageDown: current + page, PageUp: current - page, Home: 0, End: count - 1 };
    if (e.key in to) show(to[e.key]!);
    else if (e.key === "Enter" && current >= 0) o.open?.(current);
    else return;
    e.preventDefault();
  });
  body.addEventListener("click", (e) => {
    const at = e.target as Element;
    if (e.defaultPrevented || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || at.closest("a, button")) return;
    const row = at.closest<HTMLElement>(".row");
    if (!row || getSelection()?.toString()) return;
    current = Number(row.getAttribute("aria-rowindex")) - 1;
    later();
    o.open?.(current);
  });
  const resized = new ResizeObserver(later);
  resized.observe(el);

  return {
    el,
    refresh,
    show,
    close() {
      resized.disconnect();
      cancelAnimationFrame(frame);
    },
  };
}
