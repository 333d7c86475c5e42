// What tests of the page's pure modules run with: tools/webbuild runs them in a JavaScript engine in Go. There is no browser.

declare const host: { test(name: string, f: () => void): void; fail(message: string): void };

// test runs f at once, under a name.
export function test(name: string, f: () => void): void {
  host.test(name, f);
}

// equal fails the test if got is not the same, in JSON.
export function equal(got: unknown, want: unknown, what = ""): void {
  const a = JSON.stringify(got), b = JSON.stringify(want);
  if (a !== b) host.fail(`${what && what + ": "}got ${a}, want ${b}`);
}
