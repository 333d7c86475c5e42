// Who the person is, and what they may do. The node decides; the page asks, so that it offers only what will work.
import { get, getWithHeaders, onToken } from "./api";
import type { AccessCheck, WhoAmI } from "./types";

let asked: Promise<{ who: WhoAmI; writes: boolean }> | undefined;
let checks = new Map<string, Promise<boolean>>();

function forget(): void {
  asked = undefined;
  checks = new Map();
}
onToken(forget);

function ask(): Promise<{ who: WhoAmI; writes: boolean }> {
  asked ??= getWithHeaders<WhoAmI>("whoami").then(
    // The node says whether it takes changes from this caller over HTTP at all. One that does not say takes them.
    ({ body, headers }) => ({ who: body, writes: headers.get("Rollcall-Writes") !== "off" }),
    (err) => {
      forget(); // the next who asks may get an answer
      throw err;
    },
  );
  return asked;
}

// whoami says who the node takes this caller for.
export async function whoami(): Promise<WhoAmI> {
  return (await ask()).who;
}

// may says whether this caller may do something to a service, to all that a pattern covers, or, without one, to everything. Whoever
// cannot be asked about may not.
export async function may(verb: string, service = ""): Promise<boolean> {
  try {
    const { who, writes } = await ask();
    if (verb !== "read" && verb !== "status" && !writes) return false;
    if (!who.enforced) return true;
    const key = verb + " " + service;
    let check = checks.get(key);
    if (!check) {
      check = get<AccessCheck>("access:check", { verb, service }).then((c) => c.allowed);
      check.catch(() => checks.delete(key));
      if (checks.size >= 1000) checks.clear(); // who looks at many services does not fill the memory
      checks.set(key, check);
    }
    return await check;
  } catch {
    return false;
  }
}

// refreshMe has everything asked anew: rights may have changed.
export const refreshMe = forget;
