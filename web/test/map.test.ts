import { parseFilter } from "../src/filter";
import { cellAt, hit, layout } from "../src/map/layout";
import { Model } from "../src/map/model";
import { Store, type Change } from "../src/store";
import type { Status } from "../src/types";
import { equal, test } from "./harness";

declare const clock: { set(ms: number): void };

const statuses: Status[] = ["SERVING", "SERVING", "SERVING", "NOT_SERVING", "UNKNOWN"];
let seed = 1;
const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;

function message(services: [string, Status][], deleted: string[] = [], revision = 1, synced = true) {
  return { services: services.map(([service, status]) => ({ service, status, status_time: "2026-11-29T02:45:33Z" })), deleted, revision, synced };
}

// picture is all that a model shows.
function picture(m: Model): unknown {
  return [m.shown, m.counts, m.bad.map((s) => s.name), [...m.boxes.values()].sort((a, b) => (a.key < b.key ? -1 : 1)).map((b) => [b.key, b.names, b.codes, b.counts])];
}

test("following changes shows what beginning anew would show", () => {
  for (const [prefix, words, chosen] of [["", "", ""], ["a/", "", ""], ["", "1", ""], ["", "", "NOT_SERVING,UNKNOWN"], ["b/", "-2", "SERVING"]] as const) {
    clock.set(0);
    const store = new Store(() => 0);
    const changes: Change[] = [];
    store.subscribe((c) => changes.push(c));
    const filter = parseFilter(words, chosen);
    const m = new Model(store, prefix, filter, "worst");
    for (let round = 0; round < 60; round++) {
      const put: [string, Status][] = [], gone: string[] = [];
      for (let i = random(12); i >= 0; i--) {
        const name = `${["a", "b", "c/d"][random(3)]}/${random(3)}/${random(6)}`;
        if (random(4) === 0) gone.push(name);
        else put.push([name, statuses[random(statuses.length)]!]);
      }
      store.apply(message(put, gone, round));
      if (random(9) === 0) {
        store.begin(); // the stream came back, and tells what there is: not all of what was
        store.apply(message([...store.services.values()].filter(() => random(5) > 0).map((s) => [s.name, s.status]), [], round));
      }
      clock.set((round + 1) * 1000);
      for (const c of changes.splice(0)) m.update(c);
      equal(picture(m), picture(new Model(store, prefix, filter, "worst")), `${prefix} ${words} ${chosen} round ${round}`);
    }
  }
});

test("counts are those of the services there are, and nothing is left of those that went", () => {
  const store = new Store(() => 0);
  store.apply(message([["a/1", "SERVING"], ["a/2", "NOT_SERVING"], ["b", "UNKNOWN"]]));
  store.apply(message([["a/2", "SERVING"], ["a/3", "NOT_SERVING"]], ["b", "b", "never"]));
  equal(store.counts, { SERVING: 2, NOT_SERVING: 1, UNKNOWN: 0, SERVICE_UNKNOWN: 0, total: 3 });
  store.apply(message([], ["a/1", "a/2", "a/3"]));
  equal([store.services.size, store.counts.total], [0, 0]);
});

test("a status that this page does not know counts as UNKNOWN", () => {
  const store = new Store(() => 0);
  store.apply(message([["a", "DRAINING" as Status]]));
  equal([store.counts.UNKNOWN, store.counts.total], [1, 1]);
});

test("subscribers are told at most four times a second, of all that changed", () => {
  let now = 0, told = 0;
  const names = new Set<string>();
  clock.set(0);
  const store = new Store(() => now);
  const off = store.subscribe((c) => {
    told++;
    for (const n of c.names.keys()) names.add(n);
  });
  for (now = 0; now < 2000; now += 10) {
    clock.set(now);
    store.apply(message([[`s/${now}`, "SERVING"]]));
  }
  clock.set(3000);
  equal([told <= 9, told >= 7, names.size], [true, true, 200], `told ${told} times`);
  off();
  store.apply(message([["s/0", "NOT_SERVING"]]));
  clock.set(9000);
  equal(told <= 9, true, "told after the end");
});

test("subscribers who took long are told later, and of all that changed", () => {
  let now = 0;
  const told: number[] = [], names = new Set<string>();
  clock.set(0);
  const store = new Store(() => now);
  store.subscribe((c) => {
    told.push(now);
    for (const n of c.names.keys()) names.add(n);
    if (told.length === 2) store.rest(1000);
  });
  for (now = 0; now < 2000; now += 10) {
    clock.set(now);
    store.apply(message([[`s/${now}`, "SERVING"]]));
  }
  clock.set(now);
  clock.set(now + 1000);
  equal([told[2]! - told[1]!, names.size], [1250, 200], `told at ${told}`);
});

test("every cell is found where it stands, and cells do not overlap", () => {
  const store = new Store(() => 0);
  const put: [string, Status][] = [];
  for (let g = 0; g < 30; g++) for (let i = 0; i < 1 + g * g; i++) put.push([`g${g}/${i}`, "SERVING"]);
  store.apply(message(put));
  const m = new Model(store, "", parseFilter("", ""), "size");
  for (const [width, height] of [[300, 400], [1200, 700], [60, 50]] as const) {
    const l = layout(m.order, width, height);
    const seen = new Set<string>();
    l.boxes.forEach((p, at) => {
      equal(p.x >= 0 && p.x + p.width <= width + 1, true, `box ${p.box.key} at ${p.x}, ${p.width} wide of ${width}`);
      for (let i = 0; i < p.box.names.length; i++) {
        const { x, y } = cellAt(l, p, i);
        equal(hit(l, x + 1, y + 1), { at, i }, `${width}: ${p.box.key} ${i}`);
        seen.add(`${x} ${y}`);
      }
    });
    equal(seen.size, put.length, "places");
  }
});
