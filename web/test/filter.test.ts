import { parseFilter } from "../src/filter";
import { equal, test } from "./harness";

test("what words let through", () => {
  const names = ["shop/cart", "shop/cart-test", "Shop/EU/pay", "pay"];
  const cases: [string, string[]][] = [
    ["", names],
    ["  ", names],
    ["cart", ["shop/cart", "shop/cart-test"]],
    ["CART shop", ["shop/cart", "shop/cart-test"]],
    ["cart -test", ["shop/cart"]],
    ["^shop/", ["shop/cart", "shop/cart-test", "Shop/EU/pay"]],
    ["pay$", ["Shop/EU/pay", "pay"]],
    ["^pay$", ["pay"]],
    ["-^shop", ["pay"]],
    ["- ^ $", names],
    ["nothing", []],
  ];
  for (const [text, want] of cases) equal(names.filter(parseFilter(text, "").name), want, text);
});

test("statuses that are chosen", () => {
  const all = parseFilter("", ""), bad = parseFilter("", "NOT_SERVING,UNKNOWN");
  equal([all.empty, bad.empty, parseFilter("x", "").empty], [true, false, false]);
  equal([all.status("SERVING"), bad.status("SERVING"), bad.status("UNKNOWN")], [true, false, true]);
});
