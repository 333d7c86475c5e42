// Calls of /api/v1 on the node that served the page.

export type Query = Record<string, string | number | boolean | string[] | null | undefined>;

export const root = "/api/v1/";

// ApiError says why a call failed. Its message is for people.
export class ApiError extends Error {
  constructor(
    message: string,
    public status: number, // of HTTP; 0: no answer came
    public code: string, // of gRPC
    public reason: string,
    public written: "no" | "unknown" | "yes",
    public details: any = {},
  ) {
    super(message);
  }
}

const tokenKey = "rollcall-token";
let tokenListeners: (() => void)[] = [];

// token is what the person gave; "": none. It is kept for this tab alone, and ends with it.
export function token(): string {
  try {
    return sessionStorage.getItem(tokenKey) ?? "";
  } catch {
    return ""; // the browser keeps nothing for this page
  }
}

export function setToken(t: string): void {
  try {
    if (t) sessionStorage.setItem(tokenKey, t);
    else sessionStorage.removeItem(tokenKey);
  } catch {
    throw new Error("this browser lets the page keep nothing: allow session storage for this address, and try again");
  }
  for (const f of tokenListeners) f();
}

// onToken calls f when another token is used from now on.
export function onToken(f: () => void): () => void {
  tokenListeners.push(f);
  return () => {
    tokenListeners = tokenListeners.filter((g) => g !== f);
  };
}

// name is a service's name, a pattern or an identity as a part of a path. "/" stays as it is, unless a part is "." or "..": browsers
// would take that for a way up.
export function name(service: string): string {
  const parts = service.split("/");
  return parts.map(encodeURIComponent).join(parts.some((p) => p === "." || p === "..") ? "%2F" : "/");
}

// url is the address of a call.
export function url(path: string, query?: Query): string {
  const q = new URLSearchParams();
  for (const key in query) {
    const value = query[key];
    if (value === null || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) q.append(key, String(one));
  }
  const text = q.toString();
  return root + path + (text ? "?" + text : "");
}

export function headers(): Record<string, string> {
  const t = token();
  return t ? { Authorization: "Bearer " + t } : {};
}

// failure reads an answer that is an error.
export async function failure(res: Response): Promise<ApiError> {
  const body = await res.text().catch(() => "");
  try {
    const e = JSON.parse(body);
    if (e && typeof e.message === "string") {
      return new ApiError(e.message, res.status, e.code ?? "", e.reason ?? "", e.written ?? "unknown", e.details ?? {});
    }
  } catch {
    // Not the node's words: something between it and the browser answered.
  }
  const line = body.startsWith("<") ? "" : body.trim().slice(0, 200);
  return new ApiError(line || `the node answered ${res.status} ${res.statusText}`, res.status, "", "", res.status < 500 ? "no" : "unknown");
}

// lost is the error of a call that got no answer.
export function lost(err: unknown, written: "no" | "unknown"): ApiError {
  if (err instanceof ApiError) return err;
  return new ApiError("the node does not answer: see if it runs, and if this machine reaches it", 0, "UNAVAILABLE", "", written, { cause: String(err) });
}

let cluster = "";

// setCluster says which cluster the page shows: a change that was meant for it does not reach another one.
export function setCluster(id: string): void {
  cluster = id;
}

async function call<T>(method: string, path: string, query: Query | undefined, body: unknown, signal?: AbortSignal): Promise<{ body: T; headers: Headers }> {
  const h = headers();
  if (body !== undefined) h["Content-Type"] = "application/json";
  const written = method === "GET" ? "no" : "unknown";
  if (method !== "GET" && cluster) h["Rollcall-Cluster"] = cluster;
  try {
    const res = await fetch(url(path, query), {
      method,
      headers: h,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ?? AbortSignal.timeout(30_000),
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
    if (!res.ok) throw await failure(res);
    const text = await res.text();
    return { body: (text ? JSON.parse(text) : {}) as T, headers: res.headers };
  } catch (err) {
    if (signal?.aborted) throw err;
    throw lost(err, written);
  }
}

// get reads. path is below /api/v1/, and made with name.
export async function get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  return (await call<T>("GET", path, query, undefined, signal)).body;
}

// getWithHeaders is get, with what the answer's headers say.
export function getWithHeaders<T>(path: string, query?: Query, signal?: AbortSignal): Promise<{ body: T; headers: Headers }> {
  return call<T>("GET", path, query, undefined, signal);
}

// send changes something. The body of one wish of a person has one request_id, also when it is sent again: then the change is made once.
export async function send<T>(method: "PUT" | "POST" | "DELETE", path: string, body?: unknown, query?: Query): Promise<T> {
  return (await call<T>(method, path, query, body)).body;
}

// requestID returns a new id for one wish.
export function requestID(): string {
  // Not randomUUID, which is only there over TLS and on this machine.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
}
