// Reporting the status of one service, and deleting it.

import type { Child } from "../dom";
import { name } from "../api";
import { statusBadge, time } from "../format";
import { hasPath, readService } from "../record";
import type { ServiceRecord, Status } from "../types";
import { actor, printable } from "../words/text";
import { field, p, select, statuses } from "./fields";
import { run, type Answer } from "./flow";
import { standing } from "./preview";

type Wanted = Answer & { service?: ServiceRecord; services?: ServiceRecord[] };

// change is a change of a service over what the last check showed of it. to undefined: it is deleted.
function change(service: string, verb: string, about: string, fields: Child[], to?: () => string): Promise<boolean> {
  let now: ServiceRecord | null;
  return run<Wanted>({
    title: verb + printable(service),
    about: [p(about)],
    fields,
    async look() {
      now = (await readService(service)).record;
    },
    request() {
      const status = to?.(), if_revision = now?.report?.revision ?? 0;
      if (!hasPath(service)) return ["POST", "services:batch", { changes: [{ service, status: status ?? "SERVICE_UNKNOWN", if_revision }] }];
      return [status ? "PUT" : "DELETE", "services/" + name(service), { status, if_revision }];
    },
    preview({ service: one, services }) {
      const then = one ?? services?.find((s) => s.report);
      const r = now?.report, o = then?.override;
      return [
        p(r ? "Now: " : "It does not exist now.", r && statusBadge(r.status), r && ` by ${actor(r.actor)} `, r && time(r.time, true), r?.reason && ": " + printable(r.reason)),
        p("Then: ", statusBadge(then?.report!.status ?? "SERVICE_UNKNOWN")),
        o && p("It goes on to show ", statusBadge(then.status), ": ", ...standing(o)),
      ];
    },
    verb: verb.split(" ")[0]!,
  });
}

export function setDialog(service: string, to: Status = "NOT_SERVING"): Promise<boolean> {
  const want = select(to, statuses);
  return change(service, "Set the status of ", "The next report of its reporter takes the place of this one. An override would decide over both.", [field("Status", want)], () => want.value);
}

export function deleteDialog(service: string): Promise<boolean> {
  return change(service, "Delete ", "Checks answer NOT_FOUND then. The history stays, and the next report makes the service again.", []);
}
