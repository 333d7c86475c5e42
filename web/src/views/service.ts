import { ApiError, get, name as path } from "../api";
import { announce, h, replace, text, type Child } from "../dom";
import { clearOverrideDialog, deleteDialog, overrideDialog, setDialog } from "../dialogs";
import { statusBadge, time } from "../format";
import { may } from "../me";
import { watch } from "../stream";
import type { GetService, LeaseGuard, ListLeases, ListRules, Rule, ServiceRecord, ServicesMessage } from "../types";
import type { Ctx } from "../view";
import { service } from "../words/text";
import { local } from "../words/time";
import { why } from "../words/why";
import { commands } from "./commands";
import { history } from "./history";

interface Past {
  record: ServiceRecord | null; // null: it did not exist
  revision?: number;
  time: number; // in milliseconds
}

/** Shows one service: its status and why it has it, as of now or of a point in the past, and its history. */
export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const name = params.get("name") ?? "";
  let record: ServiceRecord | null | undefined; // now
  let past: Past | undefined;
  let rules: Rule[] | undefined, guard: LeaseGuard | undefined;
  let told = 0, seconds = 0; // told: when the time was that the lease has
  let going = new AbortController();
  const gone = new AbortController();

  const status = h("p", { class: "service-status", "data-test": "service-status" });
  const then = h("p", { class: "as-of", role: "status" });
  const actions = h("p", { class: "actions" });
  const problem = h("p", { class: "error", role: "alert" });
  const reasons = h("dl", { class: "why" });
  const shell = h("ul", { class: "commands" });
  const timeline = history(name, gone.signal, (at) => void goTo(at ? new Date(at).toISOString() : null), fail, draw);
  const part = (words: string, el: Node) => h("section", null, h("h2", null, words), el);
  replace(root, h("h1", null, h("bdi", null, service(name))), status, then, actions, problem, timeline.band, part("Why", reasons), part("History", timeline.el), part("On the command line", shell));

  const read = <T>(what: string, query = {}) => get<T>(what, query, gone.signal);
  const readAt = (query = {}, signal = gone.signal) =>
    get<GetService>(`services/${path(name)}`, query, signal).catch((e) => {
      if (e instanceof ApiError && e.status === 404) return null;
      throw e;
    });
  const stream = watch("services:watch", { services: [name], view: "full" }, {
    message(kind, data: ServicesMessage) {
      if (kind !== "services") return;
      if (data.services[0]) take(data.services[0]);
      else if (data.deleted.length) take(null);
    },
    error: fail,
  });
  readAt().then((a) => record === undefined && take(a && a.service)).catch(fail);
  const tick = setInterval(everySecond, 1000);
  void goTo(params.get("at"));
  return () => {
    clearInterval(tick);
    stream.close();
    going.abort();
    gone.abort();
  };

  // take shows what is now. The stream tells the same again when it begins anew.
  function take(rec: ServiceRecord | null): void {
    if (record !== undefined && record?.status !== rec?.status) announce(`${service(name)} ${rec ? `is now ${rec.status}` : "does not exist any more"}`);
    record = rec;
    text(problem, "");
    timeline.update();
    Promise.all([readRules(), readLease(), offer()]).then(draw, fail);
    draw();
  }

  async function readRules(): Promise<void> {
    rules = (await read<ListRules>("rules")).rules;
  }

  async function readLease(): Promise<void> {
    const lease_id = record?.report?.lease_id;
    if (!lease_id) return;
    told = Date.now();
    const answer = await read<ListLeases>("leases", { lease_id, all: true });
    guard = answer.guard;
    if (record?.lease) record.lease = answer.leases[0] ?? record.lease;
  }

  // A lease is renewed every third of its ttl, and the services that a rule counts change without this one.
  function everySecond(): void {
    if (document.hidden) return;
    if (++seconds % 15 === 0) timeline.mark(past?.time);
    const l = record?.lease;
    const due = l?.ttl_seconds && !l.end_time && Date.now() - told > Math.max(2, Math.min(15, l.ttl_seconds / 3)) * 1000;
    Promise.all([seconds % 15 ? null : readRules(), due && readLease()]).then(draw, () => null); // the stream tells if the node is away
  }

  // goTo shows the service as it was: at is a revision or a time; without one, as it is.
  async function goTo(at?: string | null): Promise<void> {
    going.abort();
    going = new AbortController();
    const { signal } = going;
    text(problem, "");
    try {
      if (!at) {
        past = undefined;
        timeline.mark();
      } else {
        const revision = /^\d+$/.test(at) ? +at : undefined;
        if (!revision) timeline.mark(Date.parse(at)); // at once, while it is dragged
        const answer = await readAt(revision ? { "at.revision": revision } : { "at.time": at }, signal);
        const moment = revision ? await timeline.timeOf(revision) : Date.parse(at);
        if (signal.aborted) return;
        timeline.mark(moment);
        past = { record: answer && answer.service, revision: answer ? answer.revision : revision, time: moment };
      }
      ctx.setParams({ at: past ? String(past.revision ?? at) : null });
      draw();
    } catch (e) {
      if (!signal.aborted) fail(e);
    }
  }

  function fail(e: unknown): void {
    if (!gone.signal.aborted) text(problem, (e as Error).message);
  }

  function draw(): void {
    if (gone.signal.aborted) return;
    const now = Date.now(), rec = past ? past.record : record;
    const nothing = rec === undefined ? "…" : past ? "It did not exist then." : `There is no service of this name. ${timeline.deletion()}`;
    fill(status, [rec?.status, rec?.status_time, !!rec?.override, nothing], () => (rec ? [statusBadge(rec.status), rec.override && "*", " since ", time(rec.status_time)] : [rec === null && statusBadge("SERVICE_UNKNOWN"), " ", nothing]));
    then.hidden = !past;
    fill(then, [past, record?.status], () => [
      h("b", null, `As it was ${past?.revision ? `at revision ${past.revision}, ` : ""}${local(past?.time || now)}. `),
      `Now it ${record ? `is ${record.status}` : "does not exist"}. `,
      h("button", { type: "button", onClick: () => void goTo() }, "Now"),
    ]);
    actions.hidden = !!past;
    const parts = rec ? (past ? why(past.time, rec) : why(now, aged(rec, now), guard, rules)) : [];
    fill(reasons, parts.map((p) => [p.title, p.lines.length]), () => parts.flatMap((p) => [h("dt", null, p.title), ...p.lines.map(() => h("dd"))]));
    // Only what reads differently is changed, so that a selection in the rest stays.
    reasons.querySelectorAll("dd").forEach((dd, i) => text(dd, parts.flatMap((p) => p.lines)[i]!));
    fill(shell, [past?.revision, record?.report?.status], () => commands(name, record?.report?.status, past?.revision));
  }

  // aged takes from a lease's time what has passed since it was told. Only the node says that a lease is due.
  function aged(rec: ServiceRecord, now: number): ServiceRecord {
    const left = rec.lease?.time_left_seconds ?? 0;
    return left > 0 ? { ...rec, lease: { ...rec.lease!, time_left_seconds: Math.max(0, left - (now - told) / 1000) } } : rec;
  }

  async function offer(): Promise<void> {
    const [report, override] = await Promise.all([may("report", name), may("override", name)]);
    const o = record?.override;
    const button = (words: string, open: () => Promise<boolean>) => h("button", { type: "button", onClick: () => void open() }, words);
    const lacks = [!report && "report", !override && "override"].filter(Boolean).join(" and ");
    fill(actions, [lacks, o, !!record], () => [
      report && button("Set…", () => setDialog(name)),
      override && button("Override…", () => overrideDialog(name)),
      override && o && button("Clear override…", () => clearOverrideDialog(o)),
      report && record && button("Delete…", () => deleteDialog(name)),
      lacks && h("span", { class: "muted" }, `To change more takes the verb ${lacks} over this name, and a node that takes changes from this page.`),
    ]);
  }
}

const filled = new WeakMap<Element, string>();

// fill makes the children of el anew if what they show has changed: what has the focus keeps it.
function fill(el: Element, of: unknown[], children: () => Child[]): void {
  const key = JSON.stringify(of);
  if (filled.get(el) === key) return;
  filled.set(el, key);
  replace(el, ...children());
}
