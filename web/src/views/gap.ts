// What there is to say of a point in time at which a service did not exist.
import { get, type Query } from "../api";
import { h, type Child } from "../dom";
import type { Event, ListEvents } from "../types";
import { serviceURL } from "../view";
import { deletion } from "../words/change";
import { sentence, who } from "../words/text";
import { local } from "../words/time";

/** The events of a service around a revision at which it did not exist. */
export interface Gap {
  deleted?: Event; // the newest one before it
  written?: Event; // the first one after it
  whole: boolean; // all that ever happened is kept
}

export async function gapAt(service: string, revision: number, signal: AbortSignal): Promise<Gap> {
  let oldest = 0;
  const find = async (query: Query): Promise<Event | undefined> => {
    const all: Query = { service, types: ["reported", "deleted", "expired"], page_size: 1, ...query };
    for (let pages = 0; pages < 10; pages++) { // one may be empty although more follow
      const answer = await get<ListEvents>("events", all, signal);
      oldest = answer.oldest_revision;
      if (answer.events[0] || !answer.next_page_token) return answer.events[0];
      all.page_token = answer.next_page_token;
    }
    return undefined;
  };
  const [deleted, written] = await Promise.all([
    revision > 0 ? find({ to_revision: revision, newest_first: true }) : undefined, // to 0 would be up to now
    find({ from_revision: revision + 1 }),
  ]);
  return { deleted, written, whole: oldest <= 1 };
}

/** Says it in words, with the way to where the service existed. */
export function absence(service: string, { deleted, written, whole }: Gap): Child[] {
  const way = (revision: number, words: string) => h("a", { href: serviceURL(service, revision), "data-key": String(revision) }, words);
  const first = whole && !deleted;
  const say = (words: string) => sentence(`${words} at ${local(written!.time!)} by ${who(written!.actor)}`, written!.reason) + " ";
  return [
    deleted && deletion(deleted) + " ",
    deleted && way(deleted.revision - 1, "Show it before that"),
    deleted && ". ",
    written ? say(first ? "It was first written" : `It was written ${deleted ? "again" : "after that,"}`) : first ? "It was never written. " : "It was not written since. ",
    written && way(written.commit_revision, "Show it then"),
    written && ".",
  ];
}
