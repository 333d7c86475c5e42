// Asks the node every few seconds how it and its cluster are, for the header and the banner. A hidden tab asks nothing.
import { ApiError, get, onToken, setCluster } from "./api";
import { answered } from "./stream";
import type { ClusterStatus } from "./types";

const every = 10_000; // ms

export interface Standing {
  status: ClusterStatus | null; // newest that came
  at: number; // ms, when it came
  error: ApiError | null; // why there is no newer one
}

let now: Standing = { status: null, at: 0, error: null };
let listeners: ((s: Standing) => void)[] = [];
let timer = 0, asking = false, running = false;

export function standing(): Standing {
  return now;
}

// onCluster tells f now, if anything is known, and whenever the node was asked.
export function onCluster(f: (s: Standing) => void): () => void {
  listeners.push(f);
  if (now.status || now.error) f(now);
  return () => {
    listeners = listeners.filter((g) => g !== f);
  };
}

// askCluster asks at once.
export async function askCluster(): Promise<void> {
  if (asking || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  try {
    const status = await get<ClusterStatus>("cluster");
    now = { status, at: Date.now(), error: null };
    setCluster(status.cluster_id);
  } catch (err) {
    now = { ...now, error: err as ApiError };
  }
  asking = false;
  answered(!now.error || now.error.status > 0);
  for (const f of listeners) f(now);
  timer = setTimeout(() => void askCluster(), every * (0.9 + Math.random() * 0.2)); // many pages do not ask at one moment
}

export function startCluster(): void {
  if (running) return;
  running = true;
  document.addEventListener("visibilitychange", () => void askCluster());
  onToken(() => void askCluster());
  void askCluster();
}
