// Where the boxes of the Map stand, and which cell is where.
import type { Box } from "./model";

export interface Placed {
  box: Box;
  x: number;
  y: number;
  width: number;
  height: number;
  columns: number;
}

interface Row {
  y: number;
  height: number;
  first: number; // in boxes
  last: number; // exclusive
}

export interface Layout {
  cell: number; // px, with the gap between cells
  boxes: Placed[];
  rows: Row[];
  height: number;
  of: Map<Box, number>;
}

export const heading = 20; // px above the cells of a box
const between = 14;
const largest = 24; // px
const narrowest = 124; // px, so that a heading can be read

// layout chooses the largest cells with which all boxes fit into the room. They do not get smaller than they must be for so many:
// then one scrolls.
export function layout(order: Box[], width: number, height: number): Layout {
  let cells = 0;
  for (const b of order) cells += b.names.length;
  const least = cells < 2_000 ? 11 : cells < 20_000 ? 6 : 3;
  let size = largest;
  while (size > least && flow(order, width, size, false).height > height) size--;
  return flow(order, width, size, true);
}

// flow puts boxes beside each other while they fit, and then makes them so wide that they fill their row.
function flow(order: Box[], width: number, cell: number, keep: boolean): Layout {
  const boxes: Placed[] = [], rows: Row[] = [], of = new Map<Box, number>();
  const least = Math.min(width, Math.max(narrowest, cell));
  let cells = 0;
  for (const b of order) cells += b.names.length;
  const tall = Math.ceil(Math.sqrt(cells / order.length / 2.5)) || 1; // rows of cells that a box should have
  const wide = (b: Box): number => Math.min(width, Math.max(least, Math.ceil(b.names.length / tall) * cell));
  let y = 0;
  for (let first = 0; first < order.length; ) {
    let last = first, used = -between;
    while (last < order.length && (last === first || used + between + wide(order[last]!) <= width)) used += between + wide(order[last++]!);
    const stretch = last < order.length || used > width * 0.6 ? (width - between * (last - first - 1)) / (used - between * (last - first - 1)) : 1;
    let x = 0, height = 0;
    for (let at = first; at < last; at++) {
      const box = order[at]!, w = wide(box) * stretch, count = box.names.length;
      const columns = Math.max(1, Math.floor(w / cell)), h = heading + Math.ceil(count / columns) * cell;
      height = Math.max(height, h);
      if (keep) {
        of.set(box, at);
        boxes.push({ box, x: Math.round(x), y, width: Math.round(w), height: h, columns });
      }
      x += w + between;
    }
    if (keep) rows.push({ y, height, first, last });
    y += height + between;
    first = last;
  }
  return { cell, boxes, rows, height: Math.max(0, y - between), of };
}

// rowAt is the first row of boxes that ends below y.
export function rowAt(l: Layout, y: number): number {
  let lo = 0, hi = l.rows.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1, r = l.rows[mid]!;
    if (r.y + r.height <= y) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// hit says what is at a point: a box, and in it a cell; -1: its heading; undefined: nothing.
export function hit(l: Layout, x: number, y: number): { at: number; i: number } | undefined {
  const r = l.rows[rowAt(l, y)];
  if (!r || y < r.y) return undefined;
  for (let at = r.first; at < r.last; at++) {
    const p = l.boxes[at]!;
    if (x < p.x || x >= p.x + p.width || y >= p.y + p.height) continue;
    if (y < p.y + heading) return { at, i: -1 };
    const column = Math.floor((x - p.x) / l.cell), i = Math.floor((y - p.y - heading) / l.cell) * p.columns + column;
    return column < p.columns && i < p.box.names.length ? { at, i } : undefined;
  }
  return undefined;
}

// cellAt is the upper left corner of a cell.
export function cellAt(l: Layout, p: Placed, i: number): { x: number; y: number } {
  return { x: p.x + (i % p.columns) * l.cell, y: p.y + heading + Math.floor(i / p.columns) * l.cell };
}
