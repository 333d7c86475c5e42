// Reads and writes with openapi-fetch and the types that openapi-typescript generates: node out/fetch.js http://HOST:PORT
import * as assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Service = components["schemas"]["ServiceRecord"];

async function main(): Promise<void> {
  const client = createClient<paths>({ baseUrl: process.argv[2] + "/api/v1" });
  const set = await client.PUT("/services/{service}", { params: { path: { service: "fetch/a" } }, body: { status: "SERVING" } });
  assert.equal(set.data?.changed, true);
  const read = await client.GET("/services/{service}", { params: { path: { service: "fetch/a" }, header: { "Rollcall-Consistency": "linearizable" } } });
  const service: Service = read.data?.service ?? assert.fail("no service");
  assert.equal(service.status, "SERVING");
  const list = await client.GET("/services", { params: { query: { prefix: "fetch/", statuses: ["SERVING"] } } });
  assert.deepEqual(list.data?.services, [service]);
  const missing = await client.GET("/services/{service}", { params: { path: { service: "fetch/nobody" } } });
  assert.equal(missing.error?.code, "NOT_FOUND");
  console.log("fetch", service.status);
}

main().then(() => process.exit(0), (err: unknown) => { console.error(err); process.exit(1); });
