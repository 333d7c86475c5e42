import { paced } from "../src/pace";
import { equal, test } from "./harness";

declare const clock: { set(ms: number): void };

test("few calls, and the last value always", () => {
  const got: string[] = [];
  const say = paced(250, (v: string) => got.push(v));
  clock.set(0);
  for (const v of ["a", "b", "c"]) say(v);
  equal(got, ["a"], "at once");
  clock.set(249);
  equal(got, ["a"]);
  say("d");
  clock.set(250);
  equal(got, ["a", "d"], "the newest");
  clock.set(499);
  say("e");
  clock.set(500);
  equal(got, ["a", "d", "e"]);
  clock.set(10_000);
  equal(got, ["a", "d", "e"], "no value twice");
  say("f");
  equal(got, ["a", "d", "e", "f"], "at once after a rest");
});
