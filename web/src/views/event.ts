import { h } from "../dom";
import { statusBadge } from "../format";
import type { Actor, Event, Status } from "../types";
import { eventsURL, serviceURL } from "../view";
import { eventReason, subject, transition } from "../words/change";
import { actor, printable, sentence, who } from "../words/text";
import { local } from "../words/time";

const many = 100; // events of one write that are told one by one

/** All that there is to know of an atomic write, newest event first. */
export function details(write: Event[]): HTMLElement[] {
  const n = write.length, last = write[0]!.commit_revision;
  return [
    h("h2", null, n > 1 ? `${n} changes in one write, up to revision ${last}` : `Revision ${write[0]!.revision}`),
    h("p", null, n > many ? `The first ${many}; "rollcall events --to ${last}" shows all.` : n > 1 ? "All took effect at once: nobody saw some of them." : ""),
    ...write.slice(-many).reverse().flatMap(one),
  ];
}

function one(e: Event): HTMLElement[] {
  const link = (href: string, words: string) => h("a", { href }, words);
  const { service, commit_revision, actor: a } = e;
  return [
    h("p", null, sentence(`${who(a)} at ${local(e.time!)}: ${printable(subject(e))} ${transition(Date.now(), e)}`, eventReason(e))),
    h("p", { class: "links" }, service && link(serviceURL(service), "Service"), service && link(serviceURL(service, commit_revision), "As it was then"), a?.name && link(eventsURL({ actor: a.name }), `All by ${printable(a.name)}`)),
    h("dl", { class: "fields" }, ...list(e, "")),
  ];
}

// list has all fields that say something, with their names in words.
function list(o: object, before: string): HTMLElement[] {
  return Object.entries(o).flatMap(([key, v]) => {
    const words = before + key.replaceAll("_", " ");
    const pair = (value: string | Node) => [h("dt", null, words), h("dd", null, value)];
    if (v === "" || v?.length === 0) return [];
    if (key === "actor") {
      const { verified, peer } = v as Actor;
      return pair(`${actor(v as Actor) || "–"}, ${verified ? "proved" : "not proved"}${peer && `, from ${peer}`}`);
    }
    if (key.endsWith("status")) return pair(statusBadge(v as Status));
    if (typeof v === "object" && !(v instanceof Array && typeof v[0] === "string")) return list(v, words + ": ");
    return pair(v === true ? "yes" : v === false ? "no" : printable(String(v)));
  });
}

