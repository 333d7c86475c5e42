import type { Event, ServiceRecord, Status } from "../types";

/** A span of time in which a service had one status. */
export interface Period {
  start: number; // in milliseconds
  end: number;
  status: Status; // effective; SERVICE_UNKNOWN: it did not exist
  covered: boolean; // an override decided
}

/** The record as of a revision: null, it did not exist; undefined, that is not kept. */
export type RecordAt = (revision: number) => Promise<ServiceRecord | null | undefined>;

/** Makes the periods of a service up to now, oldest first, of its events, newest first. */
export async function periodsOf(events: Event[], now: number, recordAt: RecordAt): Promise<Period[]> {
  const oldest = events[events.length - 1];
  if (!oldest) return [];
  // An event of an override does not say what the service shows from then on: another one may decide. Its record does.
  const before = await recordAt(oldest.revision - 1);
  const after = await Promise.all(events.map(async (e) => (e.service ? undefined : recordAt(e.commit_revision))));
  const periods: Period[] = [];
  const add = (start: number, status: Status = "SERVICE_UNKNOWN", covered = false) => {
    const last = periods[periods.length - 1];
    if (last?.status === status && last.covered === covered) return;
    if (last) last.end = start;
    periods.push({ start, end: now, status, covered });
  };
  if (before) add(Date.parse(before.status_time!), before.status, !!before.override);
  for (let i = events.length; i--; ) {
    const e = events[i]!, rec = after[i];
    const start = Date.parse(e.time!);
    if (e.service) add(start, e.effective_status, e.effective_status !== e.status);
    else if (rec || periods.length) add(start, rec?.status, !!rec?.override);
  }
  return periods;
}
