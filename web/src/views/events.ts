import { get, type Query } from "../api";
import { announce, h, replace, text } from "../dom";
import { plural, time } from "../format";
import { rows } from "../rows";
import { watch } from "../stream";
import type { Event, EventsMessage, ListEvents } from "../types";
import { serviceURL, type Ctx } from "../view";
import { eventReason, subject, transition } from "../words/change";
import { actor, printable } from "../words/text";
import { details } from "./event";
import { filterForm, matches, queryOf, readFilter } from "./filter";

const live = 5_000; // events that are kept while new ones come
const most = 20_000; // that are kept at all: who reads on and on does not fill the memory

/** Shows the events of the registry, newest first, and those that come. */
export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const filter = readFilter(params);
  let events: Event[] = []; // newest first
  let writes: Event[][] = []; // the same by atomic write: nobody ever saw a part of one
  let waiting: Event[] = []; // came, and are not shown yet; newest first
  let part: Event[] = []; // of an atomic write that is not complete
  let next: Query | null = null; // asks for the events before those that are there
  let oldest = 0, paused = false, busy = false, flush = 0;
  let shown = 0; // revision of the event in the details
  let run = new AbortController();
  let stream: { close(): void } | undefined;

  const narrow = innerWidth < 720;
  const open = (i: number) => writes[i]!.some((e) => e.revision === shown);
  const cut = (i: number) => next && i === writes.length - 1; // more of this write may come
  const list = rows({
    label: "Events, newest first",
    height: narrow ? 118 : 34,
    count: () => writes.length,
    key: (i) => `${writes[i]![0]!.revision} ${writes[i]!.length} ${open(i)} ${cut(i)}`,
    cells: (i) => cells(writes[i]!, cut(i) ? " or more" : ""),
    class: (i) => (open(i) ? "open" : ""),
    open: (i) => void tell(open(i) ? 0 : writes[i]![0]!.revision),
    test: "events-row",
  });
  const button = (words: string, onClick: () => void, test?: string) => h("button", { type: "button", onClick, "data-test": test }, words);
  const pause = button("Pause", () => {
    paused = !paused;
    come();
  });
  const news = button("", () => {
    paused = false;
    void tell(0);
    list.el.scrollTop = 0;
    pause.focus();
    come();
  }, "events-new");
  const state = h("span.muted");
  const problem = h("p.error", { role: "alert" });
  const more = button("Older events", () => void older());
  const begin = h("p.muted");
  const aside = h("section", { class: "panel view", "aria-label": "Details", hidden: true });
  const form = filterForm(filter, () => {
    ctx.setParams(filter);
    void load();
  });
  replace(root, h("h1", "Events"), form, h("p.toolbar", pause, news, state), problem, h("div", { class: narrow ? "events narrow" : "events" }, h("div", list.el, more, begin), aside));
  list.el.onscroll = () => {
    if (list.el.scrollHeight - list.el.scrollTop - list.el.clientHeight < 400) void older();
  };
  void load().then(() => tell(Number(params.get("event"))));
  return () => {
    run.abort();
    stream?.close();
    clearTimeout(flush);
    list.close();
  };

  function cells(write: Event[], more: string): HTMLElement[] {
    const n = write.length, e = write[n - 1]!; // its first one has what belongs to all of it
    const changes = new Set(write.map((e) => transition(Date.now(), e)));
    const cell = (...children: (Node | string | false)[]) => h("span", ...children);
    return [
      cell(time(e.time)),
      cell(e.service ? h("a", { href: serviceURL(e.service), tabindex: "-1" }, printable(e.service)) : printable(subject(e)), n > 1 && ` and ${n - 1}${more || " more"}`),
      h("b", { class: "s-" + (e.effective_status ?? e.status ?? "").toLowerCase() }, changes.size > 1 ? `${n}${more} changes in one write` : [...changes][0]),
      cell(actor(e.actor)),
      cell(eventReason(e)),
    ];
  }

  async function load(): Promise<void> {
    run.abort();
    run = new AbortController();
    stream?.close();
    events = waiting = part = [];
    text(problem, "");
    busy = true; // the same page is not read twice
    await guarded(async (signal) => {
      const answer = await take({}, signal);
      if (!filter.to) follow(answer.revision + 1);
      // A batch of very many is one row, and a filter may skip very many.
      for (let pages = 1; next && writes.length < 25 && (pages++ < 6 || !events.length); ) await take(next, signal);
    });
  }

  async function guarded(f: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const { signal } = run;
    await f(signal).catch((e) => !signal.aborted && text(problem, e.message));
    if (signal.aborted) return;
    busy = false;
    draw();
  }

  async function take(query: Query, signal: AbortSignal): Promise<ListEvents> {
    const answer = await get<ListEvents>("events", { ...queryOf(filter), newest_first: true, page_size: 200, ...query }, signal);
    events = [...events, ...answer.events];
    next = answer.next_page_token ? { page_token: answer.next_page_token } : null;
    oldest = answer.oldest_revision;
    draw();
    return answer;
  }

  async function older(): Promise<void> {
    if (busy || !next || events.length >= most) return;
    busy = true;
    await guarded((signal) => take(next!, signal));
  }

  function follow(from_revision: number): void {
    let opened = 0;
    stream = watch("events:watch", { from_revision, prefixes: [filter.service || filter.prefix].filter(Boolean) }, {
      // If it could not go on where it was, events may be missing.
      open: (o) => void (opened++ && !o.resumed && load()),
      message(_, data: EventsMessage) {
        part = [...part, ...data.events.filter((e) => matches(filter, e))];
        if (data.more || !part.length) return;
        waiting = [...part.reverse(), ...waiting].slice(0, live);
        part = [];
        flush ||= setTimeout(come, 250); // what comes together is drawn together
      },
      error: (e) => (/^C/.test(e.reason) ? void load() : text(problem, e.message)), // COMPACTED, CLUSTER_CHANGED
    });
  }

  // What comes waits while somebody is at a place in the list.
  function come(): void {
    flush = 0;
    if (paused || shown || list.el.scrollTop || list.el.contains(document.activeElement)) {
      if (news.hidden && waiting.length) announce("There are new events.");
    } else if (waiting.length) {
      // If so many wait that some were dropped, what was there does not follow them.
      events = waiting.length < live ? [...waiting, ...events] : waiting;
      waiting = [];
      if (events.length >= live) {
        events = events.slice(0, live);
        next = { to_revision: events[live - 1]!.revision - 1 };
      }
    }
    draw();
  }

  function draw(): void {
    writes = [];
    for (const e of events) {
      const last = writes[writes.length - 1];
      if (last?.[0]!.commit_revision === e.commit_revision) last.push(e);
      else writes.push([e]);
    }
    list.refresh();
    news.hidden = !waiting.length;
    text(news, plural(waiting.length, "new event"));
    pause.hidden = !!filter.to;
    pause.setAttribute("aria-pressed", String(paused));
    text(state, plural(events.length, "event"));
    more.hidden = !next || events.length >= most;
    text(begin, next ? (more.hidden ? 'Set "To" to see older ones.' : "") : oldest > 1 ? `Events before revision ${oldest} are not kept any more.` : events.length ? "" : "No event matches.");
  }

  // tell shows the details of the event of a revision, and of the others of its write; 0: none.
  async function tell(revision: number): Promise<void> {
    const was = shown;
    shown = revision;
    ctx.setParams({ event: revision ? String(revision) : "" });
    aside.hidden = !revision;
    if (revision) {
      const { signal } = run;
      const write = writes.find((w) => w.some((e) => e.revision === revision)) ?? (await get<ListEvents>("events", { from_revision: revision, to_revision: revision }, signal).catch(() => null))?.events ?? [];
      if (signal.aborted || shown !== revision) return;
      replace(aside, button("Close", () => void tell(0)), ...(write.length ? details(write) : [`There is no event of revision ${revision}, or you may not see it.`]));
      if (narrow) aside.scrollIntoView();
      announce("The details are after the list.");
    } else if (was) list.el.focus();
    draw();
  }
}
