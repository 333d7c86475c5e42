// Reads one service, whatever its name, now or as of a point in time.
import { ApiError, get, name, type Query } from "./api";
import type { GetService, ListServices, ServiceRecord } from "./types";

export interface AsOf {
  record: ServiceRecord | null; // null: it does not exist
  revision: number; // as of which this holds
}

// hasPath says whether a name can stand in a path. Browsers take "." and ".." for a way through the folders, however they are written.
export const hasPath = (service: string): boolean => !/^\.\.?$/.test(service);

export async function readService(service: string, at?: Query, signal?: AbortSignal): Promise<AsOf> {
  if (!hasPath(service)) {
    // In order of names, the first one that begins so is the name itself.
    const { services: [first], revision } = await get<ListServices>("services", { prefix: service, page_size: 1, ...at }, signal);
    return { record: first?.service === service ? first : null, revision };
  }
  try {
    const { service: record, revision } = await get<GetService>("services/" + name(service), at, signal);
    return { record, revision };
  } catch (e) {
    if (e instanceof ApiError && e.reason === "NOT_FOUND") return { record: null, revision: e.details.revision };
    throw e;
  }
}
