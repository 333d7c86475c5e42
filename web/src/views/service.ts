import { get } from "../api";
import { announce, h, replace, text } from "../dom";
import { clearOverrideDialog, deleteDialog, overrideDialog, setDialog } from "../dialogs";
import { statusBadge, time } from "../format";
import { may } from "../me";
import { paced } from "../pace";
import { patch } from "../patch";
import { hasPath, readService, type AsOf } from "../record";
import { watch } from "../stream";
import type { LeaseGuard, ListEvents, ListLeases, ListRules, Rule, ServiceRecord, ServicesMessage } from "../types";
import type { Ctx } from "../view";
import { quoted, service } from "../words/text";
import { local } from "../words/time";
import { why } from "../words/why";
import { absence, gapAt, type Gap } from "./gap";
import { history } from "./history";
import { button, command } from "./parts";

/** Shows one service: its status and why it has it, as of now or of a point in the past, and its history. */
export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const name = params.get("name") ?? "", q = quoted(name);
  // null: it does not exist; undefined: not known yet.
  let record: ServiceRecord | null | undefined;
  let past: (AsOf & { time?: number; gap?: Gap }) | undefined;
  let rules: Rule[] | undefined, guard: LeaseGuard | undefined, report = false, override = false;
  let moment: number | undefined, seconds = 0; // moment: where in the past the person goes
  let going = new AbortController();
  const gone = new AbortController();

  const head = h("div"), because = h("h2", { hidden: true }, "Why"), problem = h("p.error", { role: "alert" }), reasons = h("ul"), shell = h("ul");
  const go = paced(250, (at: string) => void goTo(at)); // a slider that is dragged has many positions
  const timeline = history(name, gone.signal, (at) => {
    timeline.mark((moment = at));
    // Events have times to the nanosecond: what happened within a millisecond of the slider is shown.
    go(at ? new Date(at).toISOString().replace("Z", "999999Z") : "");
  }, fail, draw);
  replace(root, h("h1", h("bdi", service(name))), head, problem, timeline.band.el, because, reasons, h("h2", "History"), timeline.el, h("h2", "On the command line"), shell);

  const read = <T>(what: string, query = {}, signal = gone.signal) => get<T>(what, query, signal);
  const stream = watch("services:watch", { services: [name], view: "full" }, {
    message(_, data: ServicesMessage) {
      if (data.services[0]) take(data.services[0]);
      else if (data.deleted.length) take(null);
    },
    error: fail,
  });
  readService(name, {}, gone.signal).then((a) => record === undefined && take(a.record)).catch(fail);
  // A lease is renewed, and the services that a rule counts change, without a change of this one.
  const tick = setInterval(() => {
    if (document.hidden) return;
    if (++seconds % (record?.lease ? 3 : 15) === 0) void beside();
    if (seconds % 15 === 0) timeline.mark(moment);
    draw();
  }, 1000);
  if (params.get("at")) go(params.get("at")!);
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
  }

  async function beside(): Promise<void> {
    try {
      [report, override] = await Promise.all([may("report", name), may("override", name)]);
      draw();
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
    if (gone.signal.aborted) return;
    going = new AbortController();
    const { signal } = going, number = /^\d+$/.test(at);
    try {
      let when = at && !number ? Date.parse(at) : undefined; // not moment: the slider goes on meanwhile
      timeline.mark((moment = when));
      const answer = at ? await readService(name, number ? { "at.revision": at } : { "at.time": at }, signal) : undefined;
      const gap = answer && !answer.record ? await gapAt(name, answer.revision, signal).catch(() => undefined) : undefined;
      if (number) {
        const e = (await read<ListEvents>("events", { from_revision: at, to_revision: at }, signal)).events[0];
        timeline.mark((moment = when = Date.parse((e?.time ?? answer?.record?.status_time)!) || undefined));
      }
      if (signal.aborted) return;
      past = answer && { ...answer, time: when, gap };
      ctx.setParams({ at: answer?.record ? String(answer.revision) : at });
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
    const rec = past ? past.record : record, o = record?.override;
    const lacks = [!report && "report", !override && "override"].filter(Boolean).join(" and ");
    patch(head, h("div",
      h("p.service-status@service-status", ...(rec
        ? [statusBadge(rec.status), rec.override && "*", " since ", time(rec.status_time)]
        : [rec === null && statusBadge("SERVICE_UNKNOWN"), rec === undefined ? "…" : past ? " It did not exist then." : ` There is no service of this name. ${timeline.deletion()}`])),
      h("p.gap", { hidden: !past?.gap }, ...(past?.gap ? absence(name, past.gap) : [])),
      h("p.as-of", { role: "status", hidden: !past },
        h("b", past && `As it was at ${[past.time && local(past.time), `revision ${past.revision}`].filter(Boolean).join(", ")}. `),
        `Now it ${record ? `is ${record.status}` : "does not exist"}. `,
        button("Now", "", 0, () => go(""))),
      h("p.actions", { hidden: !!past },
        report && button("Set…", "", 0, () => void setDialog(name)),
        override && button("Override…", "", 0, () => void overrideDialog(name)),
        override && o && hasPath(o.pattern) && button("Clear override…", "", o.revision, () => void clearOverrideDialog(o)),
        report && record && button("Delete…", "", 0, () => void deleteDialog(name)),
        rules && lacks && h("span.muted", `To change more, you need the verb ${lacks} over it, and a node that takes changes from this page.`))));
    const lines = !rec ? [] : past ? why(past.time ?? Date.now(), rec) : why(Date.now(), rec, guard, rules);
    because.hidden = !lines.length;
    patch(reasons, h("ul.plain@service-why", ...lines.map((l) => h("li", l))));
    const other = record?.report?.status === "SERVING" ? "not_serving" : "serving";
    // A name that the node has not taken may hold what a terminal obeys when it is pasted, and others what does not show. "-" begins a flag.
    const line = (verb: string, status = "", flags = "") => [verb, ...(/^-/.test(name) ? [flags, "--", q, status] : [q, status, flags])].filter(Boolean).join(" ");
    const same = record === undefined || service(name) !== name ? [] : [past?.revision ? line("get", "", `--at ${past.revision}`) : line("why"), line("history"), line("set", other, "--reason WHY"), line("override set", other, "--for 1h --reason WHY")];
    patch(shell, h("ul.plain@service-commands", ...same.map((text) => h("li", command("rollcall " + text)))));
  }
}
