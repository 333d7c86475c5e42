// A stream of /api/v1 that goes on: it begins anew after the last event it got when the connection is lost or the tab was hidden.
import { ApiError, failure, headers, lost, onToken, url, type Query } from "./api";
import { Parser } from "./sse";
import type { Opened } from "./types";

export type StreamState = "connecting" | "live" | "lost" | "hidden";

export interface StreamHandlers {
  open?(o: Opened): void;
  message(event: string, data: any): void;
  error?(e: ApiError): void;
  state?(s: StreamState): void;
}

const firstDelay = 1_000, lastDelay = 30_000; // ms between tries
const silence = 40_000; // ms without a word, after which the connection counts as lost; the node says something every 15 s

// What all streams of the page say of the connection, for the header.
type Listener = (s: StreamState, since: number) => void;
let listeners: Listener[] = [];
let shared: StreamState = "connecting", since = Date.now();
const open = new Set<Stream>();

function share(): void {
  let worst: StreamState = "live";
  for (const s of open) {
    if (s.state === "lost" || (s.state !== "live" && worst !== "lost")) worst = s.state;
  }
  if (open.size > 0) tell(worst);
}

function tell(s: StreamState): void {
  if (s === shared) return;
  if (shared === "live" || s === "live") since = Date.now();
  shared = s;
  for (const f of listeners) f(shared, since);
}

// answered says whether the node answers a call. That is the state of the connection while a view has no stream.
export function answered(yes: boolean): void {
  if (open.size === 0) tell(yes ? "live" : "lost");
}

// onConnection tells f now and at each change what the state of the page's streams is, and since when they are or are not live.
export function onConnection(f: Listener): () => void {
  listeners.push(f);
  f(shared, since);
  return () => {
    listeners = listeners.filter((g) => g !== f);
  };
}

// watch follows a stream until close. It calls open at each begin: if "resumed" is false there, what was known before is to be
// forgotten. error is called once when the stream cannot go on by itself: a person has to do something.
export function watch(path: string, query: Query, on: StreamHandlers): { close(): void } {
  const s = new Stream(path, query, on);
  s.start();
  return s;
}

class Stream {
  state: StreamState = "connecting";
  #path: string;
  #query: Query;
  #on: StreamHandlers;
  #lastID = "";
  #cluster = "";
  #tries = 0;
  #least = firstDelay;
  #timer = 0;
  #quiet = 0;
  #abort: AbortController | undefined;
  #closed = false;
  #offToken: () => void;

  constructor(path: string, query: Query, on: StreamHandlers) {
    this.#path = path;
    this.#query = query;
    this.#on = on;
    document.addEventListener("visibilitychange", this.#visible);
    addEventListener("online", this.#now);
    this.#offToken = onToken(() => this.#again());
  }

  start(): void {
    open.add(this);
    if (document.hidden) this.#enter("hidden");
    else void this.#connect();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#visible);
    removeEventListener("online", this.#now);
    this.#offToken();
    this.#stop();
    open.delete(this);
    share();
  }

  // visible: a hidden tab holds no connection. A browser has few of them to one node, and a node few to all browsers.
  #visible = (): void => {
    if (document.hidden) {
      this.#stop();
      this.#enter("hidden");
    } else if (this.state === "hidden") {
      this.#tries = 0;
      void this.#connect();
    }
  };

  #now = (): void => {
    if (this.state === "lost" && this.#timer) {
      clearTimeout(this.#timer);
      void this.#connect();
    }
  };

  // again begins anew as another caller, who may see other services.
  #again(): void {
    this.#stop();
    this.#lastID = "";
    this.#tries = 0;
    if (!document.hidden) void this.#connect();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    this.#timer = this.#quiet = 0;
    this.#abort?.abort();
    this.#abort = undefined;
  }

  #enter(s: StreamState): void {
    if (s === this.state && s !== "connecting") return;
    this.state = s;
    this.#on.state?.(s);
    share();
  }

  async #connect(): Promise<void> {
    this.#timer = 0;
    const abort = new AbortController();
    this.#abort = abort;
    if (this.state !== "lost") this.#enter("connecting"); // while it is lost, a try is nothing to show
    try {
      await this.#read(abort);
      if (!abort.signal.aborted) this.#later(new ApiError("the node ended the stream", 0, "UNAVAILABLE", "", "no"));
    } catch (err) {
      if (this.#closed || this.#abort !== abort) return; // it was ended here
      this.#later(lost(err, "no"));
    } finally {
      abort.abort(); // else the browser goes on to receive
    }
  }

  async #read(abort: AbortController): Promise<void> {
    const h = headers();
    h["Accept"] = "text/event-stream";
    if (this.#lastID) {
      h["Last-Event-ID"] = this.#lastID;
      if (this.#cluster) h["Rollcall-Cluster"] = this.#cluster;
    }
    this.#heard(abort);
    const res = await fetch(url(this.#path, this.#query), { headers: h, signal: abort.signal, cache: "no-store", credentials: "same-origin", redirect: "error" });
    if (!res.ok) throw await failure(res);
    if (!res.body || !(res.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
      throw new ApiError("what answers is not a node of Rollcall: ask who runs the proxy in between", res.status, "", "", "no");
    }
    const parser = new Parser((e) => this.#event(e.event, e.data, e.id));
    const reader = res.body.getReader();
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // the parser takes the mark away
    for (;;) {
      const { done, value } = await reader.read();
      if (abort.signal.aborted || done) return;
      this.#heard(abort);
      parser.push(decoder.decode(value, { stream: true }));
      if (parser.retry !== undefined) this.#least = Math.min(Math.max(parser.retry, firstDelay), lastDelay);
    }
  }

  // heard: the connection is lost when nothing comes for a while, even if nobody says so.
  #heard(abort: AbortController): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      if (this.#abort !== abort) return;
      this.#abort = undefined;
      abort.abort();
      this.#later(new ApiError("the node says nothing any more", 0, "UNAVAILABLE", "", "no"));
    }, silence);
  }

  #event(event: string, text: string, id: string): void {
    if (this.#closed || !this.#abort) return;
    const data = JSON.parse(text);
    switch (event) {
      case "open":
        this.#tries = 0;
        this.#cluster = data.cluster_id;
        if (!data.resumed) this.#lastID = "";
        this.#enter("live");
        this.#on.open?.(data);
        break;
      case "error":
        throw new ApiError(data.message, 0, data.code ?? "", data.reason ?? "", "no", data.details ?? {});
      default:
        this.#on.message(event, data);
    }
    if (id) this.#lastID = id; // after it was taken: what fails is asked for again
  }

  // later tries again, unless only a person can help.
  #later(e: ApiError): void {
    this.#stop();
    // Begins anew where it cannot go on: also on a node that knows less than this page, for it may have been made anew.
    if (["COMPACTED", "CLUSTER_CHANGED", "FELL_BEHIND"].includes(e.reason) || (e.reason === "REVISION_NOT_REACHED" && this.#tries > 0)) this.#lastID = "";
    const hopeless = e.status === 401 || e.status === 403 || e.status === 400 || e.status === 404 || e.status === 421;
    if (this.#tries === 0 || hopeless) this.#on.error?.(e);
    this.#enter("lost");
    const most = hopeless ? lastDelay : Math.min(lastDelay, this.#least * 2 ** Math.min(this.#tries, 6));
    this.#tries++;
    // Half of the pause is chance: a hundred pages do not come back in one moment.
    this.#timer = setTimeout(() => void this.#connect(), most / 2 + (Math.random() * most) / 2);
  }
}
