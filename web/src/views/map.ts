// The Map: every service as a cell, in groups, the worst first, and beside it the same as a list.
import type { ApiError } from "../api";
import { alone, onCluster } from "../cluster";
import { shutdownDialog } from "../dialogs";
import { h, replace, text } from "../dom";
import { help, parseFilter } from "../filter";
import { number, plural, shapes, statusBadge, worstFirst } from "../format";
import { follow } from "../live";
import { loginBox } from "../login";
import { mapCanvas } from "../map/canvas";
import { Model, type Sort } from "../map/model";
import { may } from "../me";
import { rows, type RowsOptions } from "../rows";
import { services } from "../store";
import { mapURL, serviceURL, type Ctx } from "../view";
import { ago } from "../words/time";

const reorderEvery = 3_000; // ms
const frame = 17; // ms
const longestRest = 2_000; // ms

type Listed = "bad" | "groups" | "all";

export function mount(root: HTMLElement, params: URLSearchParams, ctx: Ctx): () => void {
  const prefix = params.get("prefix") ?? "";
  let words = params.get("q") ?? "", statuses = params.get("status") ?? "";
  let sort = (params.get("sort") ?? "worst") as Sort, listed = (params.get("list") ?? (words || statuses ? "all" : "bad")) as Listed;
  let failed: ApiError | undefined;
  const make = (): Model => new Model(services, prefix, parseFilter(words, statuses), sort);
  let model = make();

  const enter = (p: string): void => ctx.navigate(mapURL({ ...(words && { q: words }), ...(statuses && { status: statuses }), ...(sort !== "worst" && { sort }), ...(p && { prefix: p }) }));
  const parts = prefix.split("/").filter((p, i, all) => p !== "" || i < all.length - 1);
  const leave = (): void => {
    if (prefix) enter(parts.slice(0, -1).map((p) => p + "/").join(""));
  };

  // The way to here.
  const crumb = (label: string, p: string) => h("a", { href: mapURL(p ? { prefix: p } : {}) }, label);
  const title = h("h1", prefix ? crumb("All services", "") : "All services",
    ...parts.flatMap((p, i) => [h("span.muted", " / "), i < parts.length - 1 ? crumb(p, parts.slice(0, i + 1).join("/") + "/") : p]));
  const loading = h("span.muted", { role: "status", hidden: true }, "Loading …");
  const shutdown = h("button.danger", { type: "button", hidden: true, onClick: () => void shutdownDialog(prefix) }, "Shut down …");
  if (prefix.endsWith("/")) void may("override", prefix + "*").then((yes) => (shutdown.hidden = !yes));

  // Filters.
  const input = h("input@filter", {
    type: "search", id: "filter", value: words, placeholder: "Filter by name", autocomplete: "off", spellcheck: "false", "aria-label": "Filter by name", "aria-describedby": "filter-help",
  });
  const helpBox = h("details.help", h("summary", { "aria-label": "What the filter understands" }, "?"),
    h("dl", { id: "filter-help" }, ...help.flatMap(([code, means]) => [h("dt", h("code", code)), h("dd", means)])));
  const chips = worstFirst.map((s) => h("button", { type: "button", class: "chip s-" + s.toLowerCase(), onClick: () => choose(s) }, h("span.shape", { "aria-hidden": "true" }, shapes[s]), " ", h("b"), " " + s));
  const sorts = h("select", { "aria-label": "Order of the groups", value: sort }, h("option", { value: "worst" }, "worst first"), h("option", { value: "name" }, "by name"), h("option", { value: "size" }, "largest first"));

  const refilter = (): void => {
    model = make();
    ctx.setParams({ q: words, status: statuses, sort: sort === "worst" ? null : sort, list: listed === (words || statuses ? "all" : "bad") ? null : listed });
    draw(true);
  };
  const choose = (s: string): void => {
    const set = new Set(statuses.split(",").filter(Boolean));
    if (!set.delete(s)) set.add(s);
    statuses = [...set].join(",");
    refilter();
  };
  let typing = 0;
  input.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      if (!words && input.value) listed = "all";
      words = input.value;
      refilter();
    }, 120);
  });
  sorts.addEventListener("change", () => {
    sort = sorts.value as Sort;
    refilter();
  });

  const canvas = mapCanvas({
    model: () => model,
    service: (name) => services.services.get(name),
    open: (name) => ctx.navigate(serviceURL(name)),
    enter,
    leave,
  });

  // The list beside it. Its place in "all" is found by how many stand in the boxes before.
  let starts: number[] = [];
  const nth = (i: number): string => {
    let lo = 0, hi = starts.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (starts[mid]! <= i) lo = mid + 1;
      else hi = mid;
    }
    return model.order[lo - 1]!.names[i - starts[lo - 1]!]!;
  };
  const name = (i: number): string => (listed === "bad" ? model.bad[i]!.name : listed === "all" ? nth(i) : model.order[i]!.key);
  const serviceCells = (i: number) => {
    const n = name(i), s = services.services.get(n);
    const since = h("time.muted", { "data-ago": s?.time || null }, s?.time ? ago(s.time) : "");
    return [h("a", { href: serviceURL(n), tabindex: "-1", title: n }, n.slice(prefix.length)), s ? statusBadge(s.status) : h("span"), since];
  };
  const groupCells = (i: number) => {
    const b = model.order[i]!;
    const bad = worstFirst.filter((s) => s !== "SERVING" && b.counts[s] > 0).map((s) => h("span", { class: "status s-" + s.toLowerCase() }, `${shapes[s]} ${number(b.counts[s])} `, h("span.sr-only", s)));
    return [b.prefix ? h("a", { href: mapURL({ prefix: b.prefix }), tabindex: "-1" }, b.label) : h("span", b.label), h("span", ...bad), h("span.muted", number(b.counts.total))];
  };
  const options: RowsOptions = {
    label: "Services and groups",
    height: 30,
    test: "map-row",
    count: () => (listed === "bad" ? model.bad.length : listed === "all" ? model.shown : model.order.length),
    key(i) {
      const n = name(i);
      if (listed === "groups") return "g " + n + JSON.stringify(model.order[i]!.counts);
      const s = services.services.get(n);
      return `${listed} ${n} ${s?.status} ${s?.time}`;
    },
    cells: (i) => (listed === "groups" ? groupCells(i) : serviceCells(i)),
    open(i) {
      const n = name(i);
      if (listed !== "groups") ctx.navigate(serviceURL(n));
      else if (n) enter(n);
    },
  };
  const list = rows(options);
  const lists: [Listed, string][] = [["bad", "Not serving"], ["groups", "Groups"], ["all", "All"]];
  const choices = lists.map(([id, label]) => h("button", {
    type: "button", class: "chip", "data-list": id,
    onClick: () => {
      listed = id;
      list.el.scrollTop = 0;
      refilter();
    },
  }, label + " ", h("b")));

  const empty = h("div.empty", { hidden: true });
  const map = h("section.map.panel@map", { "aria-label": "Map" }, canvas.el, empty);
  const side = h("section.side", { "aria-label": "List" }, h("div.chips", { role: "group", "aria-label": "What is listed" }, ...choices), list.el);
  replace(root,
    h("div.head", title, loading, shutdown, h("div.chips", { role: "group", "aria-label": "Statuses" }, ...chips)),
    h("div.tools", input, helpBox, sorts),
    h("div.split", map, side),
  );

  // What is said instead of a map with nothing on it.
  const drawEmpty = (): void => {
    const nothing = model.shown === 0;
    empty.hidden = !nothing && !failed;
    canvas.el.hidden = nothing;
    if (empty.hidden) return;
    if (failed) {
      replace(empty, h("p", failed.message), failed.status === 401 || failed.status === 403 ? h("button", { type: "button", onClick: () => void loginBox() }, "Sign in …") : null);
    } else if (!services.loaded) {
      replace(empty, h("p", "Loading …"));
    } else if (services.counts.total === 0) {
      replace(empty, h("p", "No service has reported yet. The first one:"), h("code", "rollcall set shop/cart serving --reason hello"));
    } else if (words || statuses) {
      replace(empty, h("p", "No service fits the filter."), h("button", {
        type: "button",
        onClick: () => {
          words = statuses = input.value = "";
          refilter();
        },
      }, "Clear the filter"));
    } else {
      replace(empty, h("p", `No service has a name that begins with ${prefix}.`));
    }
  };

  // What came so far of a first picture is not to be taken for all. A node that hears no leader has no more to come.
  const whole = (): boolean => services.loaded || (alone() && services.counts.total > 0);
  const count = (n: number): string => (whole() ? number(n) : "…");
  const draw = (moved: boolean): void => {
    loading.hidden = whole() || failed !== undefined || model.shown === 0;
    worstFirst.forEach((s, i) => {
      const chip = chips[i]!;
      text(chip.querySelector("b")!, count(model.counts[s]));
      chip.setAttribute("aria-pressed", String(statuses.split(",").includes(s)));
      chip.hidden = s === "SERVICE_UNKNOWN" && model.counts[s] === 0;
    });
    const sizes: Record<Listed, number> = { bad: model.bad.length, groups: model.boxes.size, all: model.shown };
    for (const c of choices) {
      text(c.querySelector("b")!, count(sizes[c.dataset.list as Listed]));
      c.setAttribute("aria-pressed", String(c.dataset.list === listed));
    }
    if (moved) {
      let n = 0;
      starts = model.order.map((b) => (n += b.names.length) - b.names.length);
      drawEmpty();
      canvas.redraw();
    }
    list.el.hidden = options.count() === 0;
    list.refresh();
    canvas.el.querySelector("canvas")!.setAttribute("aria-label", `Map of ${plural(model.shown, "service")} in ${plural(model.boxes.size, "group")}, ${number(model.bad.length)} not SERVING`);
  };

  // Groups change places when services come and go, else now and then, and not under a person's hand.
  let later = 0, ordered = 0;
  const reorder = (): boolean => {
    clearTimeout(later);
    later = 0;
    if (canvas.busy()) return false;
    ordered = performance.now();
    return model.reorder();
  };
  const again = (): void => {
    if (reorder()) draw(true);
    else if (canvas.busy()) later = setTimeout(again, reorderEvery);
  };
  const unsubscribe = services.subscribe((change) => {
    const begun = performance.now();
    const u = model.update(change), wait = ordered + reorderEvery - performance.now();
    if (u.moved || wait < 0) u.moved = reorder() || u.moved;
    else later ||= setTimeout(again, wait);
    if (!u.moved) canvas.update(u);
    draw(u.moved || canvas.el.hidden !== (model.shown === 0));
    if (!u.moved || !services.loaded) return;
    // To draw everything may take longer than a frame. Then it is done so seldom that 99 of 100 frames come in time.
    requestAnimationFrame(() => setTimeout(() => {
      const took = performance.now() - begun;
      if (took > 2 * frame) services.rest(Math.min(longestRest, 40 * took));
    }));
  });
  const unfollow = follow({
    error(e) {
      failed = e;
      drawEmpty();
    },
    opened() {
      failed = undefined;
      drawEmpty();
    },
  });
  const keys = (e: KeyboardEvent): void => {
    if (e.key === "/" && !(e.target as Element).closest("input, textarea, select, dialog")) {
      e.preventDefault();
      input.focus();
    }
  };
  document.addEventListener("keydown", keys);
  const offCluster = onCluster(() => {
    if (!services.loaded) draw(true);
  });
  draw(true);

  return () => {
    clearTimeout(typing);
    clearTimeout(later);
    document.removeEventListener("keydown", keys);
    unsubscribe();
    offCluster();
    unfollow();
    canvas.close();
    list.close();
  };
}
