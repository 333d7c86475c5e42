import { h } from "../dom";
import { plural, statusBadge } from "../format";
import type { Actor, Event } from "../types";
import { eventsURL, serviceURL } from "../view";
import { eventReason, subject, transition } from "../words/change";
import { actor, printable, sentence, who } from "../words/text";
import { local } from "../words/time";

const many = 200; // events of one write that are told one by one

/** All that there is to know of an atomic write, newest event first. */
export function details(write: Event[]): HTMLElement[] {
  const events = write.slice(-many).reverse(); // as they were made
  const first = events[0]!, now = Date.now();
  const title = write.length === 1 ? `Revision ${first.revision}` : `${plural(write.length, "change")} in one write, up to revision ${first.commit_revision}`;
  return [
    h("h2", null, title),
    write.length > 1 && h("p", null, "All of it took effect at once: nobody ever saw a part."),
    ...events.map((e) => one(e, now, write.length > 1)),
    write.length > many && h("p", null, `The other ${plural(write.length - many, "change")} of it: "rollcall events --to ${first.commit_revision}".`),
  ].filter((x) => x !== false);
}

function one(e: Event, now: number, folded: boolean): HTMLElement {
  const about = subject(e);
  const line = h("p", null, sentence(`${who(e.actor)} at ${local(e.time!)}: ${about ? `${printable(about)} ` : ""}${transition(now, e)}`, eventReason(e)));
  const links = h("p", null, e.service && h("a", { href: serviceURL(e.service) }, "Service"), e.service && " · ", e.service && h("a", { href: serviceURL(e.service, e.commit_revision) }, "as it was then"), e.service && e.actor?.name ? " · " : "", e.actor?.name && h("a", { href: eventsURL({ actor: e.actor.name }) }, `all by ${actor({ ...e.actor, on_behalf_of: "" })}`));
  const fields = h("dl", { class: "fields" }, ...list(e as unknown as Record<string, unknown>));
  if (folded) return h("details", null, h("summary", null, ...line.childNodes), links, fields);
  return h("div", null, line, links, fields);
}

function list(o: Record<string, unknown>, prefix = ""): HTMLElement[] {
  return Object.entries(o).flatMap(([key, v]) => {
    const words = prefix + key.replaceAll("_", " ");
    if (v === "" || v === null || (Array.isArray(v) && v.length === 0)) return [];
    if (key === "actor") return pair(words, actorWords(v as Actor));
    if (/status$/.test(key)) return pair(words, statusBadge(v as never));
    if (Array.isArray(v)) return v.flatMap((one) => (typeof one === "object" ? list(one, `${words}: `) : pair(words, printable(String(one)))));
    if (typeof v === "object") return list(v as Record<string, unknown>, `${words}: `);
    return pair(words, typeof v === "boolean" ? (v ? "yes" : "no") : printable(String(v)));
  });
}

const pair = (words: string, value: string | Node) => [h("dt", null, words), h("dd", null, value)];

function actorWords(a: Actor): string {
  return `${actor(a) || "–"}, ${a.verified ? "who proved it" : "as the caller said, not proved"}${a.peer ? `, from ${a.peer}` : ""}`;
}
