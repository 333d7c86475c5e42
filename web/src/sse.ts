// Reads text/event-stream, as the HTML standard has it: https://html.spec.whatwg.org/multipage/server-sent-events.html

export interface Sent {
  event: string; // "message" if the stream does not say
  data: string;
  id: string; // newest id so far
}

// longest is how much one event may hold. The node's hold far less; more is another server's.
const longest = 64 << 20;

// Parser takes a stream in pieces that end anywhere, and gives whole events.
export class Parser {
  id = "";
  retry: number | undefined; // ms
  private rest = "";
  private data: string[] = [];
  private size = 0;
  private event = "";
  private begun = false;
  private afterCR = false;

  constructor(
    private on: (e: Sent) => void,
    private onComment?: () => void,
  ) {}

  // push takes the next piece of the text.
  push(text: string): void {
    if (text === "") return;
    if (!this.begun) {
      this.begun = true;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    if (this.afterCR && text.startsWith("\n")) text = text.slice(1); // the second half of a CRLF
    if (text === "") return;
    this.afterCR = false;
    let from = 0;
    for (let i = this.nextEnd(text, 0); i >= 0; i = this.nextEnd(text, from)) {
      const line = this.rest + text.slice(from, i);
      this.rest = "";
      from = i + 1;
      if (text[i] === "\r") {
        if (from === text.length) this.afterCR = true;
        else if (text[from] === "\n") from++;
      }
      this.line(line);
    }
    this.rest += text.slice(from);
    if (this.rest.length + this.size > longest) throw new Error("an event of the stream does not end");
  }

  private nextCR = -2; // -2: to be looked for; -1: the piece has none

  private nextEnd(text: string, from: number): number {
    if (from === 0) this.nextCR = -2;
    if (this.nextCR === -2 || (this.nextCR >= 0 && this.nextCR < from)) this.nextCR = text.indexOf("\r", from);
    const lf = text.indexOf("\n", from);
    return this.nextCR >= 0 && (lf < 0 || this.nextCR < lf) ? this.nextCR : lf;
  }

  private line(line: string): void {
    if (line === "") {
      this.dispatch();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.onComment?.();
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    switch (field) {
      case "data":
        this.data.push(value);
        this.size += value.length;
        break;
      case "event":
        this.event = value;
        break;
      case "id":
        if (!value.includes("\0")) this.id = value;
        break;
      case "retry":
        if (/^[0-9]+$/.test(value)) this.retry = Number(value);
        break;
    }
  }

  private dispatch(): void {
    const { data, event } = this;
    this.data = [];
    this.size = 0;
    this.event = "";
    if (data.length > 0) this.on({ event: event || "message", data: data.length === 1 ? data[0]! : data.join("\n"), id: this.id });
  }
}
