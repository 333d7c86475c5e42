// Reporting the status of one service, and deleting it.

import { h, replace, type Child } from "../dom";
import { ApiError, get, name } from "../api";
import { statusBadge, time } from "../format";
import type { GetService, ServiceRecord, Status } from "../types";
import { by, printable } from "../words/text";
import { field, p, select, statuses } from "./fields";
import { run, type Answer } from "./flow";
import { standing, turns, warning } from "./preview";

// seen follows what is reported of a service while a dialog is open.
function seen(service: string) {
  const path = "services/" + name(service);
  const line = p("…");
  let first: number | undefined;
  const s = {
    path,
    line,
    now: undefined as ServiceRecord | undefined,
    revision: 0, // of the report; 0: there is none
    async look() {
      try {
        s.now = (await get<GetService>(path)).service;
      } catch (e) {
        if (!(e instanceof ApiError) || e.code !== "NOT_FOUND") throw e;
        s.now = undefined;
      }
      const r = s.now?.report;
      s.revision = r?.revision ?? 0;
      first ??= s.revision;
      replace(line, "Now: ", ...(r
        ? [statusBadge(r.status), `, reported${by(r.actor)} `, time(r.time, true), r.reason && ": " + printable(r.reason), s.now!.lease && !s.now!.lease.end_time && ". A lease holds it: its reporter lives."]
        : ["it does not exist."]));
    },
    warning: (): Child => first !== s.revision && warning("Somebody changed it while this was open. Look at what is there now."),
  };
  s.look().catch(() => {}); // the check says why
  return s;
}

export function setDialog(service: string, to: Status = "NOT_SERVING"): Promise<boolean> {
  const s = seen(service);
  const want = select(statuses, to);
  return run<Answer & { service: ServiceRecord }>({
    title: "Set status of " + printable(service),
    about: [s.line, p("Reports a status. The next report of its reporter takes its place; an override would decide over both.")],
    fields: [field("Status", want)],
    look: s.look,
    request: () => ["PUT", s.path, { status: want.value, if_revision: s.revision }],
    preview: ({ service: { report, override, status } }) => [
      s.warning(),
      turns(service, s.now?.report?.status ?? "SERVICE_UNKNOWN", report!.status),
      override && p("It goes on to show ", statusBadge(status), ": ", ...standing(override)),
    ],
    verb: "Set",
  });
}

export function deleteDialog(service: string): Promise<boolean> {
  const s = seen(service);
  return run({
    title: "Delete " + printable(service),
    about: [s.line, p("Checks answer NOT_FOUND then. The history stays, and the next report makes the service again.")],
    look: s.look,
    request: () => ["DELETE", s.path, { if_revision: s.revision }],
    preview: () => [s.warning(), turns(service, s.now!.status, "SERVICE_UNKNOWN")],
    verb: "Delete",
  });
}
