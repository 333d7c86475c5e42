// The services and their statuses, as the node's stream tells them. Counts are kept as changes come, never counted anew. Nothing is
// kept of a service that was deleted.
import { known } from "./format";
import type { ServicesMessage, Status } from "./types";

export interface Counts {
  SERVING: number;
  NOT_SERVING: number;
  UNKNOWN: number;
  SERVICE_UNKNOWN: number;
  total: number;
}

export interface Service {
  name: string;
  status: Status;
  time: number; // ms, since when it has the status; 0: not known
  seen: number; // in which state of the registry it was told last
}

// Change is what is other than at the notification before.
export interface Change {
  all: boolean; // too much to name: look at everything
  names: Map<string, Status | null>; // changed, added or deleted, with the status that was told last; null: none, it is new
}

export function noCounts(): Counts {
  return { SERVING: 0, NOT_SERVING: 0, UNKNOWN: 0, SERVICE_UNKNOWN: 0, total: 0 };
}

// worse orders counts: any NOT_SERVING is worse than all UNKNOWN.
export function worse(a: Counts, b: Counts): number {
  return b.NOT_SERVING - a.NOT_SERVING || b.UNKNOWN - a.UNKNOWN || b.SERVICE_UNKNOWN - a.SERVICE_UNKNOWN;
}

export const notifyEvery = 250; // ms
const mostNames = 5_000; // named in one notification

export class Store {
  services = new Map<string, Service>();
  counts = noCounts();
  revision = 0;
  synced = false; // all that the registry has is here
  loaded = false; // it was so once: what is shown is a whole picture, maybe an old one

  #state = 0;
  #change: Change = { all: false, names: new Map() };
  #dirty = false;
  #subscribers = new Set<(c: Change) => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = -notifyEvery;

  #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  // begin: the stream tells all services anew. What is here stays until it is over, so that the picture does not go blank.
  begin(): void {
    this.#state++;
    this.synced = false;
    this.#mark();
  }

  // clear forgets everything: the caller is another, or the cluster is.
  clear(): void {
    this.services.clear();
    this.counts = noCounts();
    this.revision = 0;
    this.synced = this.loaded = false;
    this.#change.all = true;
    this.#mark();
  }

  apply(m: ServicesMessage): void {
    for (const r of m.services) this.#put(r.service, known(r.status), r.status_time ? Date.parse(r.status_time) : 0);
    for (const name of m.deleted) this.#remove(name);
    if (m.revision > this.revision) this.revision = m.revision;
    if (m.synced && !this.synced) {
      for (const s of this.services.values()) {
        if (s.seen !== this.#state) this.#remove(s.name);
      }
      this.synced = this.loaded = true;
    }
    this.#mark();
  }

  #put(name: string, status: Status, time: number): void {
    const s = this.services.get(name);
    if (s) {
      s.seen = this.#state;
      if (s.status === status && s.time === time) return;
      this.#count(s.status, -1);
    } else this.services.set(name, { name, status, time, seen: this.#state });
    this.#count(status, 1);
    this.#touch(name, s?.status ?? null);
    if (s) {
      s.status = status;
      s.time = time;
    }
  }

  #remove(name: string): void {
    const s = this.services.get(name);
    if (!s) return;
    this.services.delete(name);
    this.#count(s.status, -1);
    this.#touch(name, s.status);
  }

  #count(status: Status, by: number): void {
    this.counts[status] += by;
    this.counts.total += by;
  }

  #touch(name: string, before: Status | null): void {
    if (this.#change.all || this.#subscribers.size === 0 || this.#change.names.has(name)) return;
    this.#change.names.set(name, before);
    if (this.#change.names.size > mostNames) {
      this.#change.all = true;
      this.#change.names.clear();
    }
  }

  // subscribe calls f at most four times a second with what changed since.
  subscribe(f: (c: Change) => void): () => void {
    this.#subscribers.add(f);
    return () => {
      this.#subscribers.delete(f);
      if (this.#subscribers.size === 0) {
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#change = { all: false, names: new Map() };
      }
    };
  }

  // rest has the next call wait for ms longer than usual: what the last one caused took long.
  rest(ms: number): void {
    this.#last = this.#now() + ms;
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#mark();
  }

  #mark(): void {
    this.#dirty = true;
    if (this.#timer !== undefined || this.#subscribers.size === 0) return;
    this.#timer = setTimeout(() => this.#notify(), Math.max(0, this.#last + notifyEvery - this.#now()));
  }

  #notify(): void {
    this.#timer = undefined;
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#last = this.#now();
    const c = this.#change;
    this.#change = { all: false, names: new Map() };
    for (const f of this.#subscribers) f(c);
  }
}

// services is the store of this tab.
export const services = new Store();
