import { Parser, type Sent } from "../src/sse";
import { equal, test } from "./harness";

function parse(...pieces: string[]): { events: Sent[]; parser: Parser } {
  const events: Sent[] = [];
  const parser = new Parser((e) => events.push(e));
  for (const p of pieces) parser.push(p);
  return { events, parser };
}

const stream = "\ufeffretry: 2000\r\n\r\n: hello\r\n\r\nid: 5@c\r\nevent: services\r\ndata: {\"a\":\r\ndata:1}\r\n\r\ndata\r\n\r\n:\n\nid\ndata:  two\rdata: lines\r\rdata: not ended";
const want: Sent[] = [
  { event: "services", data: "{\"a\":\n1}", id: "5@c" },
  { event: "message", data: "", id: "5@c" },
  { event: "message", data: " two\nlines", id: "" },
];

test("a stream in one piece", () => {
  const { events, parser } = parse(stream);
  equal(events, want);
  equal(parser.retry, 2000, "retry");
});

test("a stream that is cut anywhere", () => {
  for (let i = 0; i <= stream.length; i++) {
    for (const j of [i, i + 1, i + 2, stream.length]) equal(parse(stream.slice(0, i), stream.slice(i, j), stream.slice(j)).events, want, `cut at ${i} and ${j}`);
  }
  equal(parse(...stream).events, want, "character by character");
});

test("lines that end in CR, LF and CRLF", () => {
  for (const end of ["\r", "\n", "\r\n"]) {
    const text = `data: a${end}data: b${end}${end}data: c${end}${end}`;
    equal(parse(...text).events.map((e) => e.data), ["a\nb", "c"], JSON.stringify(end));
    equal(parse(text).events.map((e) => e.data), ["a\nb", "c"], JSON.stringify(end));
  }
});

test("fields that the standard says to ignore", () => {
  const { events, parser } = parse("id: a\0b\nretry: 1s\nretry: \nunknown: x\nevent: e\n\ndata: 1\n\n");
  equal(events, [{ event: "message", data: "1", id: "" }]);
  equal(parser.retry, undefined);
});
