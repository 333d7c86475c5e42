import type { Event, ServiceRecord, Status } from "../types";

/** A span of time in which a service had one status. */
export interface Period {
  start: number; // in milliseconds
  end: number;
  status: Status; // effective; SERVICE_UNKNOWN: it did not exist
  covered: boolean; // an override decided
}

/** Makes the periods of a service up to now, oldest first, of its events, newest first. recordAt returns null where there was none. */
export async function periodsOf(events: Event[], recordAt: (revision: number) => Promise<ServiceRecord | null>): Promise<Period[]> {
  const periods: Period[] = [];
  const add = (time: string | undefined, status: Status = "SERVICE_UNKNOWN", covered = false) => {
    const last = periods[periods.length - 1], start = Date.parse(time!);
    if (last?.status === status && last.covered === covered) return;
    if (last) last.end = start;
    periods.push({ start, end: Date.now(), status, covered });
  };
  const oldest = events[events.length - 1];
  // An event of an override does not say what the service shows from then on: another one may decide. Its record does.
  const [before, ...after] = await Promise.all([oldest ? recordAt(oldest.revision - 1) : null, ...events.map((e) => (e.service ? null : recordAt(e.commit_revision)))]);
  if (before) add(before.status_time, before.status, !!before.override);
  for (let i = events.length; i--; ) {
    const e = events[i]!, rec = after[i];
    if (e.service) add(e.time, e.effective_status, e.effective_status !== e.status);
    else if (rec || periods.length) add(e.time, rec?.status, !!rec?.override);
  }
  return periods;
}
