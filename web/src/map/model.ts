// What the Map shows: the services below a prefix that the filter lets through, in boxes by the next part of their names. It follows
// the store change by change, and sorts a box only when it is made.
import type { Filter } from "../filter";
import { worstFirst } from "../format";
import { noCounts, worse, type Change, type Counts, type Service, type Store } from "../store";
import type { Status } from "../types";

export interface Box {
  key: string;
  label: string;
  prefix: string; // what the box's names begin with; "": they have no further part, and the box cannot be entered
  names: string[]; // sorted
  codes: number[]; // their statuses, as places in worstFirst
  counts: Counts;
}

export type Sort = "worst" | "name" | "size";

export interface Update {
  moved: boolean; // boxes or cells are elsewhere now
  cells: [Box, number][]; // that show another status; where nothing moved
}

const code = (s: Status): number => worstFirst.indexOf(s);

export class Model {
  boxes = new Map<string, Box>();
  order: Box[] = [];
  counts = noCounts(); // of what the prefix and the words let through, whatever its status
  shown = 0;
  bad: Service[] = []; // shown and not SERVING: by status, the newest change first

  #store: Pick<Store, "services">;
  #prefix: string;
  #filter: Filter;
  #sort: Sort;

  constructor(store: Pick<Store, "services">, prefix: string, filter: Filter, sort: Sort) {
    this.#store = store;
    this.#prefix = prefix;
    this.#filter = filter;
    this.#sort = sort;
    this.rebuild();
  }

  rebuild(): void {
    this.boxes = new Map();
    this.counts = noCounts();
    this.shown = 0;
    this.bad = [];
    for (const s of this.#store.services.values()) {
      if (!this.#lets(s.name)) continue;
      this.counts[s.status]++;
      this.counts.total++;
      if (!this.#filter.status(s.status)) continue;
      this.#box(s.name).names.push(s.name);
      if (s.status !== "SERVING") this.bad.push(s);
    }
    for (const b of this.boxes.values()) {
      if (!sorted(b.names)) b.names.sort();
      for (const name of b.names) {
        const { status } = this.#store.services.get(name)!;
        b.codes.push(code(status));
        b.counts[status]++;
      }
      this.shown += b.counts.total = b.names.length;
    }
    this.bad.sort(badFirst);
    this.reorder();
  }

  #lets(name: string): boolean {
    return name.startsWith(this.#prefix) && this.#filter.name(name);
  }

  #box(name: string): Box {
    const slash = name.indexOf("/", this.#prefix.length);
    const key = slash < 0 ? "" : name.slice(0, slash + 1);
    let b = this.boxes.get(key);
    if (!b) {
      const label = key ? key.slice(this.#prefix.length) : this.#prefix || "no group";
      this.boxes.set(key, (b = { key, label, prefix: key, names: [], codes: [], counts: noCounts() }));
    }
    return b;
  }

  // reorder puts the boxes in order, and says whether that changed anything. Boxes with few and with many bad services do not change
  // places for each service that changes: only the order of magnitude counts.
  reorder(): boolean {
    const before = this.order;
    const rough = (c: Counts): Counts => ({ ...c, NOT_SERVING: magnitude(c.NOT_SERVING), UNKNOWN: magnitude(c.UNKNOWN), SERVICE_UNKNOWN: magnitude(c.SERVICE_UNKNOWN) });
    const keyed = [...this.boxes.values()].map((b) => ({ b, c: rough(b.counts) }));
    keyed.sort((x, y) => (this.#sort === "worst" ? worse(x.c, y.c) : this.#sort === "size" ? y.c.total - x.c.total : 0) || (x.b.key < y.b.key ? -1 : 1));
    this.order = keyed.map((k) => k.b);
    return this.order.length !== before.length || this.order.some((b, i) => b !== before[i]);
  }

  // update takes what changed in the store.
  update(change: Change): Update {
    if (change.all) {
      this.rebuild();
      return { moved: true, cells: [] };
    }
    const out: Update = { moved: false, cells: [] };
    const nowBad: Service[] = [];
    let wasBad = false;
    for (const [name, before] of change.names) {
      if (!this.#lets(name)) continue;
      const s = this.#store.services.get(name);
      if (before) this.counts[before]--, this.counts.total--;
      if (s) this.counts[s.status]++, this.counts.total++;
      const was = before !== null && this.#filter.status(before), is = s !== undefined && this.#filter.status(s.status);
      if (was && before !== "SERVING") wasBad = true;
      if (is && s.status !== "SERVING") nowBad.push(s);
      if (!was && !is) continue;
      const b = this.#box(name);
      const i = place(b.names, name);
      if (was) b.counts[before]--;
      if (is) b.counts[s.status]++;
      if (was && is) {
        b.codes[i] = code(s.status);
        if (before !== s.status) out.cells.push([b, i]);
        continue;
      }
      out.moved = true;
      const by = is ? 1 : -1;
      b.counts.total += by;
      this.shown += by;
      if (is) {
        if (b.counts.total === 1) this.order.push(b);
        b.names.splice(i, 0, name);
        b.codes.splice(i, 0, code(s.status));
      } else {
        b.names.splice(i, 1);
        b.codes.splice(i, 1);
        if (b.counts.total === 0) {
          this.boxes.delete(b.key);
          this.order.splice(this.order.indexOf(b), 1);
        }
      }
    }
    if (wasBad || nowBad.length > 0) this.bad = merged(this.bad.filter((s) => !change.names.has(s.name)), nowBad.sort(badFirst));
    return out;
  }
}

function badFirst(a: Service, b: Service): number {
  return code(a.status) - code(b.status) || b.time - a.time || (a.name < b.name ? -1 : 1);
}

function merged(a: Service[], b: Service[]): Service[] {
  if (b.length === 0) return a;
  const out: Service[] = [];
  let i = 0;
  for (const s of b) {
    while (i < a.length && badFirst(a[i]!, s) < 0) out.push(a[i++]!);
    out.push(s);
  }
  while (i < a.length) out.push(a[i++]!);
  return out;
}

function sorted(names: string[]): boolean {
  for (let i = 1; i < names.length; i++) if (names[i - 1]! > names[i]!) return false;
  return true;
}

// place is where name stands, or would stand, in a sorted list.
function place(names: string[], name: string): number {
  let lo = 0, hi = names.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (names[mid]! < name) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// magnitude is how many bits a count has.
function magnitude(n: number): number {
  return 32 - Math.clz32(n);
}
