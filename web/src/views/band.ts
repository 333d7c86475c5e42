import { h, replace, svg } from "../dom";
import { local } from "../words/time";
import type { Period } from "./periods";

const width = 1000, height = 32;
// Beside its colour, a status has a height of its own: the worse, the higher.
const tall = { SERVING: 14, UNKNOWN: 22, NOT_SERVING: 32, SERVICE_UNKNOWN: 3 };

/** The status of a service over time, and beneath it a slider that picks a point in that time. */
export interface Band {
  el: HTMLElement;
  /** Shows these periods up to now, and where in the past the page is, in milliseconds. */
  show(periods: Period[], at?: number): void;
}

/** pick is called with a time, in milliseconds; with undefined for now. */
export function band(pick: (at?: number) => void): Band {
  let shown: Period[] = [];
  const slider = h("input", { type: "range", step: "any", "aria-label": "As of", "data-test": "as-of" });
  // The events say the same in words.
  const picture = svg("svg", { class: "band", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const say = () => {
    const t = +slider.value, p = shown.filter((p) => p.start <= t).pop();
    slider.setAttribute("aria-valuetext", t < +slider.max ? `${local(t)} ${p?.status ?? ""}` : "now");
    return t < +slider.max ? t : undefined;
  };
  const moved = () => pick(say());
  // Between two changes nothing is to be seen, so the arrow keys and the buttons go from change to change.
  const jump = (later: boolean) => {
    const t = +slider.value, starts = shown.map((p) => p.start);
    slider.value = String(later ? (starts.find((s) => s > t) ?? slider.max) : (starts.filter((s) => s < t).pop() ?? slider.min));
    moved();
  };
  slider.oninput = moved;
  slider.onkeydown = (e) => {
    if (!e.key.startsWith("Arrow")) return;
    e.preventDefault();
    jump(/R|U/.test(e.key));
  };
  const button = (words: string, later: boolean) => h("button", { type: "button", onClick: () => jump(later) }, words);
  return {
    el: h("div", picture, slider, h("p.ends", button("‹ Earlier change", false), button("Later change ›", true))),
    show(periods, at) {
      shown = periods;
      const now = Date.now(), oldest = periods[0]?.start ?? now - 1000;
      const start = oldest - (now - oldest) / 50; // a little of what was before
      const x = (t: number) => Math.max(0, ((t - start) / (now - start)) * width);
      const bar = (from: number, to: number, height: number, kind: string) => svg("rect", { x: x(from), width: Math.max(2, x(to) - x(from)), y: 32 - height, height, class: kind });
      replace(picture, ...periods.flatMap((p) => [bar(p.start, p.end, tall[p.status], "s-" + p.status.toLowerCase()), p.covered && bar(p.start, p.end, 3, "covered")]), at && bar(at, at, height, "covered"));
      slider.min = String(start);
      slider.max = String(now);
      slider.value = String(at ?? now);
      say();
    },
  };
}
