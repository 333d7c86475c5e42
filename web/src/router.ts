// Shows the view that the address asks for. All state of a view that is worth a link stands in its address.
import { standing } from "./cluster";
import { replace } from "./dom";
import type { Ctx, Mount } from "./view";

const base = "/ui/";

export interface Route {
  title: string;
  mount: Mount;
}

// route has root show the views until the page ends. shown is told which one is shown.
export function route(root: HTMLElement, routes: Record<string, Route>, shown: (path: string) => void): (url: string) => void {
  let unmount: (() => void) | undefined;
  let at = "";

  const ctx: Ctx = {
    navigate: (url) => go(url),
    setParams(p) {
      const q = new URLSearchParams(location.search);
      for (const key in p) {
        const value = p[key];
        if (value === null || value === undefined || value === "") q.delete(key);
        else q.set(key, value);
      }
      const text = q.toString();
      const next = location.pathname + (text ? "?" + text : "");
      if (next !== location.pathname + location.search) history.replaceState(null, "", next);
      at = next;
    },
    cluster: () => standing().status,
  };

  const show = (focus: boolean): void => {
    const path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : "";
    const r = routes[path] ?? routes[""]!;
    at = location.pathname + location.search;
    unmount?.();
    replace(root);
    document.title = r.title + " – Rollcall";
    unmount = r.mount(root, new URLSearchParams(location.search), ctx);
    shown(path);
    if (focus) {
      scrollTo(0, 0);
      const heading = root.querySelector("h1") ?? root; // so that a screen reader says where one is
      heading.setAttribute("tabindex", "-1");
      (heading as HTMLElement).focus({ preventScroll: true });
    }
  };

  const go = (url: string): void => {
    const to = new URL(url, location.href);
    if (to.origin !== location.origin || !to.pathname.startsWith(base)) {
      location.assign(to);
      return;
    }
    if (to.pathname + to.search !== at) history.pushState(null, "", to);
    show(true);
  };

  addEventListener("popstate", () => {
    if (location.pathname + location.search !== at) show(true); // only the fragment is another: stay
  });
  document.addEventListener("click", (e) => {
    if (e.defaultPrevented || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    const a = (e.target as Element).closest?.("a");
    if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin || !a.pathname.startsWith(base) || a.hash) return;
    e.preventDefault();
    go(a.href);
  });
  show(false);
  return go;
}
