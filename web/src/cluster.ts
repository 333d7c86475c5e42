// Asks the node every few seconds how it and its cluster are, for the header and the banner. A hidden tab asks nothing.
import { ApiError, get, onToken, setCluster } from "./api";
import { answered } from "./stream";
import type { ClusterStatus } from "./types";

const every = 10_000; // ms

export interface Standing {
  status: ClusterStatus | null; // newest that came
  self: ClusterStatus | null; // newest of what the node says without asking the others, which may not answer
  selfAt: number; // ms, when it came
  at: number; // ms, when it came
  error: ApiError | null; // why there is no newer one
}

let now: Standing = { status: null, self: null, selfAt: 0, at: 0, error: null };
let listeners: ((s: Standing) => void)[] = [];
let timer = 0, asking = false, running = false;

export function standing(): Standing {
  return now;
}

// onCluster tells f now, if anything is known, and whenever the node was asked.
export function onCluster(f: (s: Standing) => void): () => void {
  listeners.push(f);
  if (now.self || now.error) f(now);
  return () => {
    listeners = listeners.filter((g) => g !== f);
  };
}

function tell(): void {
  for (const f of listeners) f(now);
}

// askNode asks what the node knows by itself. It answers at once; with a member that hangs, askCluster takes seconds.
export async function askNode(): Promise<void> {
  const before = now;
  const self = await get<ClusterStatus>("cluster", { local_only: true }).catch(() => null);
  if (!self || before !== now) return; // what came meanwhile is newer
  now = { ...now, self, selfAt: Date.now() };
  tell();
}

// alone says whether the node hears no leader. What it knows then is all that there is to show.
export function alone(): boolean {
  return now.self?.leader === "";
}

// askCluster asks at once.
export async function askCluster(): Promise<void> {
  if (asking || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  try {
    const status = await get<ClusterStatus>("cluster");
    const at = Date.now();
    now = { status, self: status, selfAt: at, at, error: null };
    setCluster(status.cluster_id);
  } catch (err) {
    now = { ...now, error: err as ApiError };
  }
  asking = false;
  answered(!now.error || now.error.status > 0);
  tell();
  timer = setTimeout(() => void askCluster(), every * (0.9 + Math.random() * 0.2)); // many pages do not ask at one moment
}

export function startCluster(): void {
  if (running) return;
  running = true;
  document.addEventListener("visibilitychange", () => void askCluster());
  onToken(() => void askCluster());
  void askNode();
  void askCluster();
}
