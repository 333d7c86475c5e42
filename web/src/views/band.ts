import { h, replace, svg, text } from "../dom";
import { local, twoUnits } from "../words/time";
import type { Period } from "./periods";

// The status of a service over time, and beneath it a slider that picks a point in that time.

const width = 1000, height = 32;
// Beside its colour, a status has a height of its own: the worse, the higher.
const tall = { SERVING: 14, UNKNOWN: 22, NOT_SERVING: 32, SERVICE_UNKNOWN: 3 };

export interface Band {
  el: HTMLElement;
  /** Shows these periods up to now, and where in the past the page is, in milliseconds. */
  show(periods: Period[], at?: number): void;
}

/** pick is called with a time, in milliseconds; with undefined for now. */
export function band(pick: (at?: number) => void): Band {
  let changes: number[] = [], say = (_t: number) => "";
  const picture = svg("svg", { class: "band", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  const slider = h("input", { type: "range", step: "any", "aria-label": "As of", "data-test": "as-of" });
  const from = h("span");
  const step = (words: string, to: number) => h("button", { type: "button", onClick: () => jump(to) }, words);
  const moved = () => {
    const t = +slider.value;
    slider.setAttribute("aria-valuetext", say(t));
    pick(t < +slider.max ? t : undefined);
  };
  // Between two changes nothing is to be seen, so the arrow keys go from change to change.
  const jump = (to: number) => {
    const t = +slider.value;
    slider.value = String(to > 0 ? (changes.find((c) => c > t) ?? slider.max) : (changes.filter((c) => c < t).pop() ?? slider.min));
    moved();
  };
  slider.oninput = moved;
  slider.onkeydown = (e) => {
    const to = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[e.key];
    if (!to) return;
    e.preventDefault();
    jump(to);
  };
  return {
    el: h("div", null, picture, slider, h("p", { class: "ends" }, from, step("‹ Earlier change", -1), step("Later change ›", 1), h("span", null, "now"))),
    show(periods, at) {
      const now = Date.now();
      changes = periods.map((p) => p.start);
      const oldest = changes[0] ?? now - 1000;
      const start = oldest - (now - oldest) / 50; // a little of what was before
      say = (t) => (t < +slider.max ? `${local(t)}: ${name(periods.filter((p) => p.start <= t).pop())}` : "now");
      const x = (t: number) => Math.max(0, ((t - start) / (now - start)) * width);
      const words = (p: Period) => `${name(p)} from ${local(p.start)}, for ${twoUnits(Math.max(0, p.end - p.start) / 1000)}`;
      replace(
        picture,
        ...periods.map((p) => {
          const bar = (y: number, height: number, kind: string) => svg("rect", { x: x(p.start), width: Math.max(1.5, x(p.end) - x(p.start)), y, height, class: kind });
          const high = tall[p.status] ?? 22;
          return svg("g", null, svg("title", null, words(p)), bar(height - high, high, "s-" + p.status.toLowerCase()), p.covered && bar(0, 3, "covered"));
        }),
        at && svg("rect", { class: "mark", x: x(at) - 1.5, width: 3, height }),
      );
      picture.setAttribute("aria-label", `Status over time, newest first: ${periods.slice(-8).reverse().map(words).join("; ")}`);
      text(from, local(start).slice(0, 19));
      slider.min = String(start);
      slider.max = String(now);
      slider.value = String(at ?? now);
      slider.setAttribute("aria-valuetext", say(+slider.value));
    },
  };
}

const name = (p?: Period) => (!p ? "not known" : (p.status === "SERVICE_UNKNOWN" ? "does not exist" : p.status) + (p.covered ? " by an override" : ""));
