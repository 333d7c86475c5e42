import { get } from "../api";
import { h, replace, text } from "../dom";
import { time } from "../format";
import { readService } from "../record";
import type { Event, ListEvents, ServiceRecord } from "../types";
import { eventsURL, serviceURL } from "../view";
import { deletion, eventReason, transition } from "../words/change";
import { actor, printable } from "../words/text";
import { day } from "../words/time";
import { band, type Band } from "./band";
import { periodsOf } from "./periods";

const most = 2000; // events that are kept: a page that is open for days does not grow
const types = ["reported", "deleted", "expired", "override-set", "override-cleared", "override-expired"];

export interface History {
  band: Band;
  el: HTMLElement; // the events
  /** Reads what has happened since the last call. */
  update(): void;
  /** Shows where in the past the page is, in milliseconds; without, that it is not. */
  mark(at?: number): void;
  /** Who deleted the service, or what, in a sentence; "" if that is not kept, or it is there. */
  deletion(): string;
}

/** The events of a service by day, newest first, and its status over time. changed is called when others are known. */
export function history(name: string, signal: AbortSignal, pick: (at?: number) => void, fail: (e: unknown) => void, changed: () => void): History {
  let events: Event[] = []; // newest first
  let at: number | undefined, reading = Promise.resolve();
  const records = new Map<number, ServiceRecord | null>();
  const picture = band(pick);
  const days = h("div@service-timeline");
  const more = h("button", { type: "button", hidden: true, onClick: () => then(older) }, "Older events");
  const begin = h("p.muted");
  // One after the other, so that no event is read twice.
  const then = (f?: () => Promise<void>) => void (reading = reading.then(f).then(draw).catch(fail));
  const read = (query: Record<string, number>) => get<ListEvents>("events", { service: name, types, newest_first: true, page_size: 50, ...query }, signal);

  return {
    band: picture,
    el: h("div", days, more, begin),
    update: () => then(newer),
    mark(t) {
      at = t;
      then();
    },
    deletion() {
      const e = events.find((e) => e.service);
      return e ? deletion(e) : "";
    },
  };

  async function newer(): Promise<void> {
    const newest = events[0];
    const answer = newest && (await read({ from_revision: newest.commit_revision + 1 }).catch(() => null));
    if (answer && !answer.next_page_token && events.length < most) {
      for (const e of answer.events.slice().reverse()) insert(e, true);
      events = [...answer.events, ...events];
    } else {
      const answer = await read({});
      events = [];
      records.clear();
      replace(days);
      add(answer);
    }
  }

  async function older(): Promise<void> {
    add(await read({ to_revision: events[events.length - 1]!.revision - 1 }));
  }

  function add(answer: ListEvents): void {
    for (const e of answer.events) insert(e, false);
    events.push(...answer.events);
    more.hidden = !answer.next_page_token || events.length >= most;
    const first = answer.oldest_revision;
    text(begin, more.hidden && first > 1 ? `Events before revision ${first} are not kept any more.` : "");
  }

  function insert(e: Event, top: boolean): void {
    const date = day(e.time!);
    let section = (top ? days.firstElementChild : days.lastElementChild) as HTMLElement | null;
    const put = (to: Element, el: Element) => (top ? to.prepend(el) : to.append(el));
    if (section?.dataset.day !== date) put(days, (section = h("section", { "data-day": date }, h("h3", date), h("ol"))));
    put(
      section.lastElementChild!,
      h("li",
        h("a", { href: serviceURL(name, e.commit_revision), title: "as it was then" }, time(e.time)),
        h("b", { class: "s-" + (e.effective_status ?? e.status)!.toLowerCase() }, `${e.pattern ? `${printable(e.pattern)}: ` : ""}${transition(Date.now(), e)}`),
        h("span", actor(e.actor)),
        h("span", eventReason(e)),
        h("a", { href: eventsURL({ event: String(e.revision) }) }, `revision ${e.revision}`),
      ),
    );
  }

  async function draw(): Promise<void> {
    picture.show(await periodsOf(events, recordAt), at);
    changed();
  }

  // What was, stays: it is asked for once. What is not kept is not drawn.
  async function recordAt(revision: number): Promise<ServiceRecord | null> {
    if (!records.has(revision)) records.set(revision, await readService(name, { "at.revision": revision }, signal).then((a) => a.record, () => null));
    return records.get(revision)!;
  }
}
