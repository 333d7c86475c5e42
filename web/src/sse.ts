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
  #on: (e: Sent) => void;
  #rest = "";
  #data: string[] = [];
  #size = 0; // of what waits for its end
  #event = "";
  #begun = false;
  #afterCR = false;

  constructor(on: (e: Sent) => void) {
    this.#on = on;
  }

  // push takes the next piece of the text.
  push(text: string): void {
    if (!text) return;
    if (!this.#begun && text[0] === "\ufeff") text = text.slice(1);
    this.#begun = true;
    if (this.#afterCR && text[0] === "\n") text = text.slice(1); // the second half of a CRLF
    if (!text) {
      this.#afterCR = false;
      return;
    }
    this.#afterCR = text.endsWith("\r");
    const lines = text.split(/\r\n?|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop()!;
    lines.forEach((l) => this.#line(l));
    if (this.#rest.length + this.#size > longest) throw new Error("an event of the stream does not end");
  }

  #line(line: string): void {
    if (!line) {
      if (this.#data.length > 0) this.#on({ event: this.#event || "message", data: this.#data.join("\n"), id: this.id });
      this.#data = [];
      this.#size = 0;
      this.#event = "";
      return;
    }
    const colon = line.indexOf(":"), field = colon < 0 ? line : line.slice(0, colon), value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#size += this.#data.push(value) && value.length;
    if (field === "event") this.#event = value;
    if (field === "id" && !value.includes("\0")) this.id = value;
    if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}
