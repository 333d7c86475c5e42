// Keeps the store of services up to date while a view shows it. A tab has one stream at a time: a view that follows something else
// does not pay for this one.
import { onToken } from "./api";
import { askNode } from "./cluster";
import { services } from "./store";
import { watch, type StreamHandlers } from "./stream";
import type { ApiError } from "./api";

let users = 0;
let stream: { close(): void } | undefined;
let cluster = "";

onToken(() => services.clear()); // another caller may see other services

// follow opens the stream of all services' statuses, or shares the one that is open.
export function follow(on: { error?(e: ApiError): void; opened?(): void } = {}): () => void {
  users++;
  const handlers: StreamHandlers = {
    open(o) {
      if (cluster && cluster !== o.cluster_id) services.clear();
      cluster = o.cluster_id;
      if (!o.resumed) services.begin();
      if (!services.loaded) void askNode(); // without a leader, it takes a while to say that this is all
      on.opened?.();
    },
    message(event, data) {
      if (event === "services") services.apply(data);
    },
    error: on.error,
  };
  stream ??= watch("services:watch", { view: "status" }, handlers);
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    if (--users === 0) {
      stream?.close();
      stream = undefined;
    }
  };
}
