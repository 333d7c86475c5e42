import { ApiError, get, name as path } from "../api";
import { h, replace, text } from "../dom";
import { time } from "../format";
import type { Event, GetService, ListEvents } from "../types";
import { eventsURL, serviceURL } from "../view";
import { eventReason, transition } from "../words/change";
import { actor, printable, sentence, who } from "../words/text";
import { day, local } from "../words/time";
import { band } from "./band";
import { periodsOf, type Period, type RecordAt } from "./periods";

const most = 2000; // events that are kept: a page that is open for days does not grow
const types = ["reported", "deleted", "expired", "override-set", "override-cleared", "override-expired"];

export interface History {
  band: HTMLElement;
  el: HTMLElement; // the events
  /** Reads what has happened since the last call. */
  update(): void;
  /** Shows where in the past the page is, in milliseconds; undefined: now. */
  mark(at?: number): void;
  /** When a revision was made, in milliseconds. */
  timeOf(revision: number): Promise<number>;
  /** Who deleted the service, in a sentence; "" if that is not kept, or it is there. */
  deletion(): string;
}

/** The events of a service by day, newest first, and its status over time. */
export function history(name: string, signal: AbortSignal, pick: (at?: number) => void, fail: (e: unknown) => void, changed: () => void): History {
  let events: Event[] = []; // newest first
  let periods: Period[] = [];
  let at: number | undefined, reading = Promise.resolve();
  const known = new Map<number, ReturnType<RecordAt>>();
  const picture = band(pick);
  const days = h("div", { "data-test": "service-timeline" });
  const more = h("button", { type: "button", hidden: true, onClick: () => then(older) }, "Older events");
  const begin = h("p", { class: "muted" });
  // One after the other, so that no event is read twice.
  const then = (f: () => Promise<void>) => void (reading = reading.then(f).then(draw).catch(fail));
  const read = (query: Record<string, number>) => get<ListEvents>("events", { service: name, types, newest_first: true, page_size: 50, ...query }, signal);

  return {
    band: picture.el,
    el: h("div", null, days, more, begin),
    update: () => then(newer),
    mark: (t) => picture.show(periods, (at = t)),
    async timeOf(revision) {
      // Who may not see that event still sees the service.
      const e = events.find((e) => e.commit_revision === revision) ?? (await get<ListEvents>("events", { from_revision: revision, to_revision: revision }, signal).catch(() => null))?.events[0];
      return Date.parse(e?.time ?? "");
    },
    deletion() {
      const e = events.find((e) => e.service);
      return e?.type === "deleted" ? sentence(`${who(e.actor)} deleted it at ${local(e.time!)}`, e.reason) : "";
    },
  };

  async function newer(): Promise<void> {
    const newest = events[0];
    const answer = newest && (await read({ from_revision: newest.commit_revision + 1 }).catch(() => null));
    if (!answer || answer.next_page_token || events.length > most) {
      events = [];
      replace(days);
      return add(await read({}));
    }
    for (const e of answer.events.slice().reverse()) insert(e, true);
    events = [...answer.events, ...events];
  }

  async function older(): Promise<void> {
    add(await read({ to_revision: events[events.length - 1]!.revision - 1 }));
  }

  function add(answer: ListEvents): void {
    for (const e of answer.events) insert(e, false);
    events.push(...answer.events);
    more.hidden = !answer.next_page_token || events.length >= most;
    const first = answer.oldest_revision;
    text(begin, more.hidden && first > 1 ? `What was before is not kept: events are kept from revision ${first} on.` : "");
  }

  function insert(e: Event, top: boolean): void {
    const date = day(e.time!);
    let section = (top ? days.firstElementChild : days.lastElementChild) as HTMLElement | null;
    const put = (to: Element, el: Element) => (top ? to.prepend(el) : to.append(el));
    if (section?.dataset.day !== date) put(days, (section = h("section", { "data-day": date }, h("h3", null, date), h("ol"))));
    put(section.lastElementChild!, row(e));
  }

  function row(e: Event): HTMLElement {
    return h(
      "li",
      null,
      h("a", { href: serviceURL(name, e.commit_revision), title: "as it was then" }, time(e.time)),
      h("b", { class: `s-${(e.effective_status ?? e.status)?.toLowerCase()}` }, `${e.pattern ? `${printable(e.pattern)}: ` : ""}${transition(Date.now(), e)}`),
      h("span", null, actor(e.actor)),
      h("span", null, eventReason(e)),
      h("a", { href: eventsURL({ event: String(e.revision) }) }, `revision ${e.revision}`),
    );
  }

  async function draw(): Promise<void> {
    periods = await periodsOf(events, Date.now(), recordAt);
    picture.show(periods, at);
    changed();
  }

  // What was, stays: it is asked for once.
  function recordAt(revision: number): ReturnType<RecordAt> {
    const there = known.get(revision);
    if (there) return there;
    const asked = get<GetService>(`services/${path(name)}`, { "at.revision": revision }, signal).then(
      (a) => a.service,
      (e) => {
        if (e instanceof ApiError && e.status === 404) return null;
        known.delete(revision);
        return undefined;
      },
    );
    known.set(revision, asked);
    return asked;
  }
}
