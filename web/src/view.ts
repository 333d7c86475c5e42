// What the page and its views know of each other.
import type { ClusterStatus } from "./types";

export interface Ctx {
  navigate(url: string): void; // to another address below /ui/
  setParams(p: Record<string, string | null>): void; // in this view's address; null takes one away. The view stays as it is
  cluster(): ClusterStatus | null; // newest that is known
}

// Mount shows a view in root until the function that it returns is called.
export type Mount = (root: HTMLElement, params: URLSearchParams, ctx: Ctx) => () => void;

// serviceURL, mapURL and eventsURL are the addresses of views.
export function serviceURL(name: string, at?: number): string {
  return "/ui/service?" + new URLSearchParams(at === undefined ? { name } : { name, at: String(at) });
}

export function mapURL(p: Record<string, string> = {}): string {
  const q = new URLSearchParams(p).toString();
  return "/ui/" + (q ? "?" + q : "");
}

export function eventsURL(p: Record<string, string> = {}): string {
  const q = new URLSearchParams(p).toString();
  return "/ui/events" + (q ? "?" + q : "");
}
