// Reads, writes and watches with the client that @hey-api/openapi-ts generates: node out/client.js http://HOST:PORT
import * as assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createClient } from "./generated/client";
import * as api from "./generated";

const client = createClient({ baseUrl: process.argv[2] + "/api/v1" });

async function main(): Promise<void> {
  const status = await api.getStatus({ client, throwOnError: true });
  assert.equal(status.data.writable, true);
  console.log("status", status.data.node);
  const headers = { "Rollcall-Cluster": status.data.cluster_id };

  // A change, and the same once more: it happens once.
  const body: api.SetServingStatusRequest = { status: "SERVING", reason: "deploy 42", request_id: randomUUID() };
  const set = await api.setServingStatus({ client, headers, path: { service: "shop/cart" }, body, throwOnError: true });
  const again = await api.setServingStatus({ client, headers, path: { service: "shop/cart" }, body, throwOnError: true });
  assert.equal(set.data.changed, true);
  assert.deepEqual(again.data, set.data);
  const revision: number = set.data.revision ?? assert.fail("no revision");
  console.log("set", set.data.service.service, set.data.service.status);

  // It is read as it was written.
  const read = await api.getService({ client, path: { service: "shop/cart" }, headers: { ...headers, "Rollcall-Min-Revision": revision }, throwOnError: true });
  assert.equal(read.data.service.report?.reason, "deploy 42");
  assert.equal(read.data.service.report?.revision, revision);
  assert.ok(read.response.headers.get("Rollcall-Node"), "no header Rollcall-Node");
  console.log("get", read.data.service.status);

  // Any name stands in the path.
  for (const service of ["a//b", "/a/", "50%", "a?b#c", "ü/名前", "x:watch", "a b".replace(" ", "+")]) {
    const one = await api.setServingStatus({ client, path: { service }, body: { status: "NOT_SERVING" }, throwOnError: true });
    assert.equal(one.data.service.service, service);
    const got = await api.getService({ client, path: { service }, throwOnError: true });
    assert.equal(got.data.service.service, service);
    assert.equal(got.data.service.status, "NOT_SERVING");
  }
  console.log("names");

  // Many at once, then page by page, as of the revision.
  const batch = await api.batchSetServingStatus({ client, throwOnError: true, body: { changes: Array.from({ length: 25 }, (_, i) => ({ service: `many/${i}`, status: i % 2 ? "SERVING" : "NOT_SERVING" })) } });
  assert.equal(batch.data.changed_count, 25);
  const names: string[] = [];
  for (let page_token: string | undefined; page_token !== ""; ) {
    const page: api.ListServicesResponse = (await api.listServices({ client, query: { prefix: "many/", statuses: ["SERVING", "UNKNOWN"], page_size: 5, "at.revision": batch.data.revision, ...(page_token ? { page_token } : {}) }, throwOnError: true })).data;
    assert.ok(page.services.length <= 5);
    names.push(...page.services.map((s) => s.service));
    page_token = page.next_page_token;
  }
  assert.equal(names.length, 12);
  console.log("list", names.length);

  // A dry run of an override says whom it would affect, and changes nothing.
  const override: api.SetOverrideRequest = { pattern: "many/*", status: "NOT_SERVING", reason: "maintenance", ttl_seconds: 90.5 };
  const dry = await api.setOverride({ client, body: { ...override, validate_only: true }, throwOnError: true });
  assert.equal(dry.data.affected_total, 12);
  assert.equal(dry.data.revision, undefined);
  const over = await api.setOverride({ client, body: override, throwOnError: true });
  assert.equal(over.data.matched_count, 25);
  assert.equal((await api.listOverrides({ client, throwOnError: true })).data.overrides[0]?.pattern, "many/*");
  const cleared = await api.clearOverride({ client, path: { pattern: "many/*" }, query: { reason: "done" }, throwOnError: true });
  assert.equal(cleared.data.override?.reason, "maintenance");
  console.log("override");

  // A rule refuses, and says so.
  await api.setRule({ client, body: { name: "carts", pattern: "shop/*", min_serving: 1 }, throwOnError: true });
  const refused = await api.deleteService({ client, path: { service: "shop/cart" } });
  assert.equal(refused.response?.status, 409);
  assert.ok(refused.error);
  assert.equal(refused.error.reason, "RULE_BROKEN");
  assert.equal(refused.error.written, "no");
  await api.removeRule({ client, path: { name: "carts" }, throwOnError: true });
  console.log("rule", refused.error.reason);

  // What does not exist is an error.
  const missing = await api.getService({ client, path: { service: "nobody" } });
  assert.equal(missing.response?.status, 404);
  assert.equal(missing.error?.code, "NOT_FOUND");
  console.log("missing", missing.error?.code);

  // A lease lives while it is renewed.
  const lease = await api.grantLease({ client, body: { ttl_seconds: 30, reason: "worker" }, throwOnError: true });
  const renewed = await api.renewLease({ client, path: { lease_id: lease.data.lease_id }, throwOnError: true });
  assert.deepEqual(renewed.data.renewed_lease_ids, [lease.data.lease_id]);
  await api.revokeLease({ client, path: { lease_id: lease.data.lease_id }, throwOnError: true });
  console.log("lease");

  const who = await api.whoAmI({ client, throwOnError: true });
  assert.equal(who.data.identity, "anonymous");

  // The events tell of all of it.
  const events = await api.listEvents({ client, query: { service: "shop/cart", types: ["reported"] }, throwOnError: true });
  assert.equal(events.data.events[0]?.request_id, body.request_id);
  assert.equal(events.data.events[0]?.type, "reported");
  console.log("events");

  await watch();
}

// The stream has the state, then what changes.
async function watch(): Promise<void> {
  const stop = new AbortController();
  const kinds: string[] = [];
  const { stream } = await api.watchServices({
    client, signal: stop.signal, query: { prefixes: ["shop/"], view: "status" },
    onSseEvent: (event) => { kinds.push(event.event ?? ""); },
  });
  let held = "";
  for await (const message of stream) {
    if (!("synced" in message)) {
      continue; // the first event
    }
    for (const s of message.services) {
      held = s.status;
    }
    if (message.synced && held === "SERVING") {
      await api.setServingStatus({ client, path: { service: "shop/cart" }, body: { status: "NOT_SERVING" }, throwOnError: true });
    }
    if (held === "NOT_SERVING") {
      stop.abort();
      break;
    }
  }
  assert.equal(kinds[0], "open");
  assert.ok(kinds.slice(1).every((kind) => kind === "services"), kinds.join());
  console.log("watch", held);
}

main().then(() => process.exit(0), (err: unknown) => { console.error(err); process.exit(1); });
