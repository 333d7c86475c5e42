import { ApiError, get, name as path } from "../api";
import { announce, h, replace, text, type Child } from "../dom";
import { clearOverrideDialog, deleteDialog, overrideDialog, setDialog } from "../dialogs";
import { statusBadge, time } from "../format";
import { may } from "../me";
import { watch } from "../stream";
import type { GetService, LeaseGuard, ListEvents, ListLeases, ListRules, Rule, ServiceRecord, ServicesMessage } from "../types";
import type { Ctx } from "../view";
import { service } from "../words/text";
import { local } from "../words/time";
import { why } from "../words/why";
import { commands } from "./commands";
import { history } from "./history";

/** Shows one service: its status and why it has it, as of now or of a point in the past, and its history. */
export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const name = params.get("name") ?? "";
  // null: it does not exist; undefined: not known yet.
  let record: ServiceRecord | null | undefined;
  let past: { record: ServiceRecord | null; revision?: number; time: number } | undefined;
  let rules: Rule[] | undefined, guard: LeaseGuard | undefined;
  let moment: number | undefined, seconds = 0; // moment: where in the past the person goes
  let going = new AbortController();
  const gone = new AbortController();

  const status = h("p", { class: "service-status", "data-test": "service-status" });
  const then = h("p", { class: "as-of", role: "status" });
  const actions = h("p", { class: "actions" });
  const problem = h("p", { class: "error", role: "alert" });
  const reasons = h("ul", { class: "plain why", "data-test": "service-why" });
  const shell = h("ul", { class: "plain" });
  // Events have times to the nanosecond: what happened within a millisecond of the slider is shown.
  const timeline = history(name, gone.signal, (at) => void goTo(at ? new Date(at).toISOString().replace("Z", "999999Z") : ""), fail, draw);
  replace(root, h("h1", null, h("bdi", null, service(name))), status, then, actions, problem, timeline.band.el, h("h2", null, "Why"), reasons, h("h2", null, "History"), timeline.el, h("h2", null, "On the command line"), shell);

  const read = <T>(what: string, query = {}, signal = gone.signal) => get<T>(what, query, signal);
  const readAt = (query: object, signal?: AbortSignal) =>
    read<GetService>(`services/${path(name)}`, query, signal).catch((e) => {
      if (e instanceof ApiError && e.status === 404) return null;
      throw e;
    });
  const stream = watch("services:watch", { services: [name], view: "full" }, {
    message(_, data: ServicesMessage) {
      if (data.services[0]) take(data.services[0]);
      else if (data.deleted.length) take(null);
    },
    error: fail,
  });
  readAt({}).then((a) => record === undefined && take(a && a.service)).catch(fail);
  // A lease is renewed, and the services that a rule counts change, without a change of this one.
  const tick = setInterval(() => {
    if (document.hidden) return;
    if (++seconds % (record?.lease ? 3 : 15) === 0) void beside();
    if (seconds % 15 === 0) timeline.mark(moment);
    draw();
  }, 1000);
  if (params.get("at")) void goTo(params.get("at")!);
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
    void beside();
    void offer();
  }

  async function beside(): Promise<void> {
    try {
      rules = (await read<ListRules>("rules")).rules;
      const l = record?.lease;
      if (l) {
        const answer = await read<ListLeases>("leases", { lease_id: l.lease_id, all: true });
        guard = answer.guard;
        if (record) record.lease = answer.leases[0];
      }
      draw();
    } catch (e) {
      fail(e);
    }
  }

  // goTo shows the service as it was: at is a revision or a time; "": as it is.
  async function goTo(at: string): Promise<void> {
    going.abort();
    going = new AbortController();
    const { signal } = going, number = /^\d+$/.test(at);
    try {
      moment = at && !number ? Date.parse(at) : undefined;
      timeline.mark(moment); // at once, while it is dragged
      const answer = at ? await readAt(number ? { "at.revision": at } : { "at.time": at }, signal) : null;
      if (number) {
        const e = (await read<ListEvents>("events", { from_revision: at, to_revision: at }, signal)).events[0];
        if (signal.aborted) return;
        timeline.mark((moment = Date.parse((e?.time ?? answer?.service.status_time)!)));
      }
      past = at ? { record: answer && answer.service, revision: answer?.revision, time: moment! } : undefined;
      ctx.setParams({ at: answer ? String(answer.revision) : at });
      text(problem, "");
      draw();
    } catch (e) {
      if (!signal.aborted) fail(e);
    }
  }

  function fail(e: unknown): void {
    if (!gone.signal.aborted) text(problem, (e as Error).message);
  }

  function draw(): void {
    const rec = past ? past.record : record;
    const nothing = rec === undefined ? "…" : past ? " It did not exist then." : ` There is no service of this name. ${timeline.deletion()}`;
    fill(status, [rec?.status, rec?.status_time, !!rec?.override, nothing], () => (rec ? [statusBadge(rec.status), rec.override && "*", " since ", time(rec.status_time)] : [rec === null && statusBadge("SERVICE_UNKNOWN"), nothing]));
    then.hidden = !past;
    actions.hidden = !!past;
    if (past) {
      const of = past;
      fill(then, [of, record?.status], () => [
        h("b", null, `As it was at ${local(of.time)}${of.revision ? `, revision ${of.revision}` : ""}. `),
        `Now it ${record ? `is ${record.status}` : "does not exist"}. `,
        h("button", { type: "button", onClick: () => void goTo("") }, "Now"),
      ]);
    }
    const lines = !rec ? [] : past ? why(past.time, rec) : why(Date.now(), rec, guard, rules);
    // Only what reads differently is changed, so that a selection in the rest stays.
    fill(reasons, [lines.length], () => lines.map(() => h("li")));
    lines.forEach((l, i) => text(reasons.children[i]!, l));
    const other = record?.report?.status === "SERVING" ? "not_serving" : "serving";
    fill(shell, [past?.revision, other], () => commands(name, other, past?.revision));
  }

  async function offer(): Promise<void> {
    const [report, override] = await Promise.all([may("report", name), may("override", name)]);
    const o = record?.override;
    const button = (words: string, open: () => Promise<boolean>) => h("button", { type: "button", onClick: () => void open() }, words);
    const lacks = [!report && "report", !override && "override"].filter(Boolean).join(" and ");
    fill(actions, [lacks, o, !record], () => [
      report && button("Set…", () => setDialog(name)),
      override && button("Override…", () => overrideDialog(name)),
      override && o && button("Clear override…", () => clearOverrideDialog(o)),
      report && record && button("Delete…", () => deleteDialog(name)),
      lacks && h("span", { class: "muted" }, `To change more, you need the verb ${lacks} over it, and a node that takes changes from this page.`),
    ]);
  }
}

const filled = new WeakMap<Element, string>();

// fill makes the children of el anew if what they show has changed: what has the focus keeps it.
function fill(el: Element, of: unknown[], children: () => Child[]): void {
  const key = JSON.stringify(of);
  if (filled.get(el) !== key) replace(el, ...children());
  filled.set(el, key);
}
