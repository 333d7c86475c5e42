// Reporting the status of one service, and deleting it.

import type { Child } from "../dom";
import { ApiError, get, name } from "../api";
import { statusBadge, time } from "../format";
import type { GetService, ServiceRecord, Status } from "../types";
import { actor, printable } from "../words/text";
import { field, p, select, statuses } from "./fields";
import { run, type Answer } from "./flow";
import { standing } from "./preview";

type Wanted = Answer & { service?: ServiceRecord };

// change is a change of a service over what the last check showed of it. to undefined: it is deleted.
function change(service: string, verb: string, about: string, fields: Child[], to?: () => string): Promise<boolean> {
  const path = "services/" + name(service);
  let now: ServiceRecord | undefined;
  return run<Wanted>({
    title: verb + printable(service),
    about: [p(about)],
    fields,
    async look() {
      now = await get<GetService>(path).then((a) => a.service, (e) => {
        if (!(e instanceof ApiError) || e.code !== "NOT_FOUND") throw e;
        return undefined;
      });
    },
    request: () => [to ? "PUT" : "DELETE", path, { status: to?.(), if_revision: now?.report?.revision ?? 0 }],
    preview({ service: then }) {
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
