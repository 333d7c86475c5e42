import { h, type Child } from "../dom";
import { statusBadge } from "../format";
import type { Actor, Event, Status } from "../types";
import { eventsURL, serviceURL } from "../view";
import { eventReason, subject, transition } from "../words/change";
import { actor, printable, sentence, who } from "../words/text";
import { local } from "../words/time";
import { facts } from "./parts";

const many = 100; // events of one write that are told one by one

/** All that there is to know of an atomic write, newest event first. */
export function details(write: Event[]): HTMLElement[] {
  const n = write.length, last = write[0]!.commit_revision;
  return [
    h("h2", n > 1 ? `${n} changes in one write, up to revision ${last}` : `Revision ${write[0]!.revision}`),
    h("p", n > many ? `The first ${many}; "rollcall events --to ${last}" shows all.` : n > 1 && "All took effect at once: nobody saw some of them."),
    ...write.slice(-many).reverse().flatMap(one),
  ];
}

function one(e: Event): HTMLElement[] {
  const link = (href: string, words: string) => h("a", { href }, words);
  const { service, commit_revision, actor: a } = e;
  return [
    h("p", sentence(`${who(a)} at ${local(e.time!)}: ${printable(subject(e))} ${transition(Date.now(), e)}`, eventReason(e))),
    h("p.links", service && link(serviceURL(service), "Service"), service && link(serviceURL(service, commit_revision), "As it was then"), a?.name && link(eventsURL({ actor: a.name }), `All by ${printable(a.name)}`)),
    facts(...list(e, "")),
  ];
}

// list has all fields that say something: each with its name in words.
function list(o: object, before: string): Child[] {
  return Object.entries(o).flatMap(([key, v]) => {
    const words = before + key.replaceAll("_", " ");
    if (v === "" || v?.length === 0) return [];
    if (key === "actor") {
      const { verified, peer } = v as Actor;
      return [words, `${actor(v as Actor) || "–"}, ${verified ? "proved" : "not proved"}${peer && `, from ${peer}`}`];
    }
    if (key.endsWith("status")) return [words, statusBadge(v as Status)];
    if (typeof v === "object" && typeof v[0] !== "string") return list(v, words + ": ");
    return [words, v === true ? "yes" : v === false ? "no" : printable(String(v))];
  });
}
