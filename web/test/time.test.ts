import { age, ago, clock, duration, local, oneUnit, remaining, stamp, twoUnits } from "../src/words/time";
import { equal, test } from "./harness";

const at = (d: number, h: number, m = 0, s = 0, ms = 0) => +new Date(2026, 10, d, h, m, s, ms);
const text = (ms: number) => new Date(ms).toISOString();

test("a time, whole and short", () => {
  const now = at(22, 14, 50);
  equal(local(at(2, 4, 5, 6, 7)), "2026-11-02 04:05:06.007");
  equal(stamp(at(22, 4, 5, 6), now), "04:05:06");
  equal(stamp(at(21, 23, 59, 59, 999), now), "2026-11-21 23:59:59");
  equal(clock(now, text(at(22, 14, 41))), "14:41:00", "near");
  equal(clock(now, text(at(22, 14, 40))), "14:40", "not near");
  equal(clock(now, text(at(23, 14, 50))), "2026-11-23 14:50", "another day");
});

test("how long, in one unit", () => {
  const cases: [number, string][] = [[-5, "0s"], [0.9, "0s"], [59.9, "59s"], [60, "1m"], [3599, "59m"], [3600, "1h"], [172799, "47h"], [172800, "2d"]];
  for (const [s, want] of cases) equal(oneUnit(s), want, String(s));
  const now = at(22, 14);
  equal(age(now, text(now - 90_000)), "1m");
});

test("how far away", () => {
  const now = at(22, 14);
  const cases: [number, string][] = [[-30_000, "now"], [0, "now"], [999, "now"], [1000, "1s ago"], [-61_000, "in 1m"], [7_200_000, "2h ago"]];
  for (const [before, want] of cases) equal([ago(now - before, now), ago(text(now - before), now)], [want, want], String(before));
});

test("how long, in more than one unit", () => {
  equal([0, 0.5, 7.29, 3363, 2257200].map(twoUnits), ["0s", "500ms", "7.2s", "56m3s", "26d3h"]);
  equal([3360, 7.9].map(remaining), ["56m", "7s"]);
  equal([0, 0.25, 90, 2592000, 129600].map(duration), ["0", "250ms", "1m30s", "30d", "1d12h"]);
});
