// Draws the Map: one canvas as large as what is in sight, a cell for each service. Only cells that changed are drawn again.
import { h, text } from "../dom";
import { number, shapes, statusBadge, worstFirst } from "../format";
import type { Service } from "../store";
import { oneUnit } from "../words/time";
import { cellAt, heading, hit, layout, rowAt, type Layout, type Placed } from "./layout";
import type { Box, Model, Update } from "./model";

export interface CanvasOptions {
  model(): Model;
  service(name: string): Service | undefined;
  open(name: string): void; // a service
  enter(prefix: string): void; // a group
  leave(): void; // to the group around this one
}

export interface MapCanvas {
  el: HTMLElement;
  update(u: Update): void;
  redraw(): void; // boxes are in another order, or others
  busy(): boolean; // a person points at a cell: it should stay where it is
  close(): void;
}

const shapeSize = 7; // px: smaller cells are squares, which differ in size and brightness

export function mapCanvas(o: CanvasOptions): MapCanvas {
  const canvas = h("canvas@map-canvas", {
    tabindex: "0", role: "application", "aria-label": "Map of services", "aria-describedby": "map-help map-at",
  });
  const space = h("div.map-space");
  const cursor = h("div.map-cursor", { hidden: true });
  const tip = h("div.map-tip", { hidden: true, role: "presentation" });
  const at = h("p.sr-only", { id: "map-at", "aria-live": "polite" });
  const el = h("div.map-scroll", h("div.map-stick", canvas, cursor, tip), space, at,
    h("p.sr-only", { id: "map-help" }, "Arrows move from service to service, Page Up and Page Down from group to group, n goes to the next one that is not SERVING, Enter opens, Escape goes to the group around this one. All that is here is also in the list."));
  const g = canvas.getContext("2d", { alpha: false })!;

  let l: Layout = layout([], 1, 1);
  let width = 0, height = 0, ratio = 1;
  let sprites: HTMLCanvasElement | undefined;
  const colours: Record<string, string> = {};
  let frame = 0, whole = true;
  let dirty = new Map<Box, Set<number>>();
  let chosen: { box: Box; i: number } | undefined, byKey = false, inside = false;

  const readColours = (): void => {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["panel", "ink", "soft", "serving-cell", "not-serving", "unknown", "unknown-cell", "gone"]) colours[name] = style.getPropertyValue("--" + name);
  };
  const colourOf = (code: number): string => colours[["not-serving", "unknown-cell", "serving-cell", "gone"][code]!]!;

  // A cell of each status is drawn once and copied from then on.
  const makeSprites = (): void => {
    const c = l.cell * ratio;
    sprites = document.createElement("canvas");
    sprites.width = Math.ceil(c) * 4;
    sprites.height = Math.ceil(c);
    const s = sprites.getContext("2d")!;
    for (let code = 0; code < 4; code++) {
      const x = Math.ceil(c) * code, m = c / 2, r = m - Math.max(0.6, c * 0.1);
      s.fillStyle = s.strokeStyle = colourOf(code);
      s.beginPath();
      if (code === 0) {
        s.moveTo(x + m, m - r);
        s.lineTo(x + m + r, m + r * 0.85);
        s.lineTo(x + m - r, m + r * 0.85);
      } else if (code === 1) {
        s.moveTo(x + m, m - r);
        s.lineTo(x + m + r, m);
        s.lineTo(x + m, m + r);
        s.lineTo(x + m - r, m);
      } else {
        s.arc(x + m, m, code === 2 ? r * 0.82 : r * 0.7, 0, 7);
      }
      s.closePath();
      if (code === 3) {
        s.lineWidth = Math.max(1, c * 0.12);
        s.stroke();
      } else s.fill();
    }
  };

  const drawCell = (code: number, x: number, y: number): void => {
    const c = l.cell;
    if (c >= shapeSize) {
      const size = Math.ceil(c * ratio);
      g.drawImage(sprites!, size * code, 0, size, size, x, y, c, c);
      return;
    }
    g.fillStyle = colourOf(code);
    const gap = code < 2 ? 0 : 1;
    g.fillRect(x, y, c - gap, c - gap);
  };

  const drawHeading = (p: Placed, top: number): void => {
    const { box } = p, y = p.y - top, { counts } = box;
    g.textBaseline = "alphabetic";
    let room = p.width - 4;
    g.font = "600 12px " + font;
    const label = fit(box.label, room);
    g.fillStyle = colours["ink"]!;
    g.fillText(label, p.x, y + 13);
    room -= g.measureText(label).width + 8;
    let x = p.x + p.width - 4 - room;
    g.font = "12px " + font;
    const bits: [string, string][] = worstFirst.slice(0, 2).filter((s) => counts[s] > 0).map((s) => [shapes[s] + " " + number(counts[s]), s === "UNKNOWN" ? "unknown" : "not-serving"]);
    bits.push([number(counts.total), "soft"]);
    for (const [words, colour] of bits) {
      const w = g.measureText(words).width;
      if (w > room) break;
      g.fillStyle = colours[colour]!;
      g.fillText(words, x, y + 13);
      x += w + 8;
      room -= w + 8;
    }
  };

  const drawCells = (p: Placed, top: number): void => {
    const { box } = p, y = p.y - top;
    const c = l.cell, from = Math.max(0, Math.floor((top - p.y - heading) / c)), to = Math.min(Math.ceil(box.names.length / p.columns), Math.ceil((top + height - p.y - heading) / c));
    const end = Math.min(box.codes.length, to * p.columns);
    if (c >= shapeSize) {
      for (let i = from * p.columns; i < end; i++) drawCell(box.codes[i]!, p.x + (i % p.columns) * c, y + heading + Math.floor(i / p.columns) * c);
      return;
    }
    for (let code = 3; code >= 0; code--) {
      g.fillStyle = colourOf(code);
      const gap = code < 2 ? 0 : 1;
      for (let i = from * p.columns; i < end; i++) {
        if (box.codes[i] === code) g.fillRect(p.x + (i % p.columns) * c, y + heading + Math.floor(i / p.columns) * c, c - gap, c - gap);
      }
    }
  };

  const fit = (words: string, room: number): string => {
    if (g.measureText(words).width <= room) return words;
    let n = words.length;
    while (n > 1 && g.measureText(words.slice(0, n) + "…").width > room) n--;
    return words.slice(0, n) + "…";
  };

  const draw = (): void => {
    frame = 0;
    const top = el.scrollTop;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (whole) {
      g.fillStyle = colours["panel"]!;
      g.fillRect(0, 0, width, height);
      for (let r = rowAt(l, top); r < l.rows.length && l.rows[r]!.y < top + height; r++) {
        for (let b = l.rows[r]!.first; b < l.rows[r]!.last; b++) {
          drawHeading(l.boxes[b]!, top);
          drawCells(l.boxes[b]!, top);
        }
      }
    } else {
      for (const [box, cells] of dirty) {
        const p = l.boxes[l.of.get(box) ?? -1];
        if (!p || p.y > top + height || p.y + p.height < top) continue;
        g.fillStyle = colours["panel"]!;
        g.fillRect(p.x, p.y - top, p.width, heading);
        drawHeading(p, top);
        for (const i of cells) {
          const { x, y } = cellAt(l, p, i);
          if (y + l.cell < top || y > top + height) continue;
          g.fillStyle = colours["panel"]!;
          g.fillRect(x, y - top, l.cell, l.cell);
          drawCell(box.codes[i]!, x, y - top);
        }
      }
    }
    whole = false;
    dirty = new Map();
    mark();
  };
  const later = (all: boolean): void => {
    whole ||= all;
    if (!frame) frame = requestAnimationFrame(draw);
  };

  const place = (): void => {
    const before = l.cell;
    l = layout(o.model().order, width, height);
    space.style.height = `${Math.max(0, l.height - height)}px`;
    if (!sprites || before !== l.cell) makeSprites();
    later(true);
  };

  const measure = (): void => {
    const w = el.clientWidth, hgt = el.clientHeight;
    if (w === width && hgt === height && ratio === devicePixelRatio) return;
    width = w;
    height = hgt;
    ratio = devicePixelRatio || 1;
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(hgt * ratio);
    canvas.style.width = `${w}px`;
    canvas.style.height = `${hgt}px`;
    sprites = undefined;
    place();
  };

  // mark shows which cell is pointed at, and what it is.
  const mark = (): void => {
    const p = chosen && l.boxes[l.of.get(chosen.box) ?? -1];
    if (!chosen || !p || chosen.i >= chosen.box.names.length) {
      cursor.hidden = tip.hidden = true;
      return;
    }
    const { x, y } = chosen.i < 0 ? p : cellAt(l, p, chosen.i), top = y - el.scrollTop;
    const size = l.cell, wide = chosen.i < 0 ? p.width : size;
    cursor.hidden = top < -size || top > height;
    cursor.style.transform = `translate(${x - 2}px, ${top - 2}px)`;
    cursor.style.width = `${wide + 3}px`;
    cursor.style.height = `${(chosen.i < 0 ? heading : size) + 3}px`;
    tip.hidden = cursor.hidden;
    const name = chosen.box.names[chosen.i], s = name === undefined ? undefined : o.service(name);
    const words = s ? `${s.name} ${s.status} ${s.time}` : chosen.box.key + chosen.box.counts.total;
    if (tip.dataset.of !== words) {
      tip.dataset.of = words;
      if (s) {
        tip.replaceChildren(h("b", s.name), h("div", statusBadge(s.status), s.time ? ` for ${oneUnit((Date.now() - s.time) / 1000)}` : ""));
        if (byKey) text(at, `${s.name} ${s.status}`);
      } else {
        tip.replaceChildren(h("b", chosen.box.label), h("div", number(chosen.box.counts.total) + " services" + (chosen.box.prefix ? ", click to enter" : "")));
      }
    }
    const right = x + tip.offsetWidth + 16 > width, low = top + tip.offsetHeight + 30 > height;
    tip.style.transform = `translate(${right ? Math.max(0, x - tip.offsetWidth - 8) : x + size + 8}px, ${low ? Math.max(0, top - tip.offsetHeight - 8) : top + size + 8}px)`;
  };

  const choose = (e: PointerEvent | MouseEvent): void => {
    const r = canvas.getBoundingClientRect();
    const found = hit(l, e.clientX - r.left, e.clientY - r.top + el.scrollTop);
    chosen = found && { box: l.boxes[found.at]!.box, i: found.i };
    byKey = false;
    canvas.style.cursor = chosen && (chosen.i >= 0 || chosen.box.prefix) ? "pointer" : "";
    mark();
  };
  canvas.addEventListener("pointermove", (e) => {
    inside = true;
    choose(e);
  });
  canvas.addEventListener("pointerleave", () => {
    inside = false;
    if (!byKey) chosen = undefined;
    mark();
  });
  const openChosen = (): void => {
    if (!chosen) return;
    if (chosen.i >= 0) o.open(chosen.box.names[chosen.i]!);
    else if (chosen.box.prefix) o.enter(chosen.box.prefix);
  };
  canvas.addEventListener("click", (e) => {
    choose(e);
    openChosen();
  });

  // nextBad is the next cell after one that is not SERVING, around the end.
  const nextBad = (b: number, i: number): [number, number] => {
    for (let n = 0; n <= l.boxes.length; n++) {
      const k = (b + n) % l.boxes.length, codes = l.boxes[k]!.box.codes;
      for (let j = n === 0 ? i + 1 : 0; j < codes.length; j++) if (codes[j] !== 2) return [k, j];
    }
    return [b, i];
  };

  canvas.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || l.boxes.length === 0) return;
    let b = chosen ? (l.of.get(chosen.box) ?? 0) : 0, i = chosen ? Math.max(0, chosen.i) : -1;
    const p = l.boxes[b]!, n = p.box.names.length, last = l.boxes.length - 1;
    const next = (): void => {
      if (b < last) b++, (i = 0);
    };
    const previous = (): void => {
      if (b > 0) b--, (i = l.boxes[b]!.box.names.length - 1);
    };
    switch (e.key) {
      case "ArrowRight": i + 1 < n ? i++ : next(); break;
      case "ArrowLeft": i > 0 ? i-- : previous(); break;
      case "ArrowDown": i < 0 ? (i = 0) : i + p.columns < n ? (i += p.columns) : next(); break;
      case "ArrowUp": i >= p.columns ? (i -= p.columns) : previous(); break;
      case "PageDown": next(); break;
      case "PageUp": if (b > 0) b--; i = 0; break;
      case "Home": b = i = 0; break;
      case "End": b = last; i = l.boxes[b]!.box.names.length - 1; break;
      case "n": [b, i] = nextBad(b, i); break;
      case "Enter": openChosen(); e.preventDefault(); return;
      case "Escape": o.leave(); return;
      default: return;
    }
    e.preventDefault();
    chosen = { box: l.boxes[b]!.box, i: Math.max(0, i) };
    byKey = true;
    const { y } = cellAt(l, l.boxes[b]!, chosen.i);
    if (y < el.scrollTop + heading) el.scrollTop = Math.max(0, y - heading);
    else if (y + l.cell > el.scrollTop + height) el.scrollTop = y + l.cell - height;
    mark();
  });
  canvas.addEventListener("blur", () => {
    if (byKey) chosen = undefined;
    byKey = false;
    mark();
  });
  el.addEventListener("scroll", () => later(true), { passive: true });

  const font = getComputedStyle(document.body).fontFamily;
  const themes = matchMedia("(prefers-color-scheme: dark)");
  const theme = (): void => {
    readColours();
    makeSprites();
    later(true);
  };
  themes.addEventListener("change", theme);
  readColours();
  const resized = new ResizeObserver(measure);
  resized.observe(el);

  return {
    el,
    update(u) {
      if (u.moved) place();
      else {
        for (const [box, i] of u.cells) {
          let cells = dirty.get(box);
          if (!cells) dirty.set(box, (cells = new Set()));
          cells.add(i);
        }
        if (u.cells.length > 0) later(false);
      }
    },
    redraw: place,
    busy: () => inside || byKey,
    close() {
      resized.disconnect();
      themes.removeEventListener("change", theme);
      cancelAnimationFrame(frame);
    },
  };
}
