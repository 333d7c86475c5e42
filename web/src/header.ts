// The bar at the top: where one is, how the node and the connection are, who one is. And the banner, when what is shown may be old.
import { onToken, token } from "./api";
import { alone, onCluster, standing } from "./cluster";
import { h, replace, text } from "./dom";
import { number, plural } from "./format";
import { loginBox } from "./login";
import { refreshMe, whoami } from "./me";
import { services } from "./store";
import { onConnection, type StreamState } from "./stream";
import { oneUnit, stamp } from "./words/time";

const words: Record<StreamState, [shape: string, label: string, title: string]> = {
  connecting: ["◌", "connecting", "The page connects to the node."],
  live: ["●", "live", "What is shown is what the node knows now."],
  lost: ["▲", "lost", "The connection is lost. The page tries again by itself."],
  hidden: ["○", "paused", "The page gets nothing while it cannot be seen."],
};

export const tabs: [path: string, title: string][] = [
  ["", "Map"],
  ["events", "Events"],
  ["cluster", "Cluster"],
  ["access", "Access"],
];

const past = (ms: number): string => oneUnit((Date.now() - ms) / 1000) + " ago";

export interface Header {
  el: HTMLElement;
  banner: HTMLElement;
  at(path: string): void;
}

export function header(): Header {
  const links = tabs.map(([path, title]) => h("a", { href: "/ui/" + path, "data-path": path }, title));
  const state = h("span.conn@conn-state", { role: "status" });
  const node = h("a.node", { href: "/ui/cluster", hidden: true });
  const problems = h("a.problems", { href: "/ui/cluster", hidden: true });
  const who = h("button.who@who", { type: "button", "aria-haspopup": "dialog", onClick: () => void loginBox() }, "…");
  const banner = h("div.banner", { role: "alert", hidden: true });

  let connection: StreamState = "connecting", since = Date.now();

  const drawConnection = (): void => {
    const [shape, label, title] = words[connection];
    if (state.dataset.state === connection) return;
    state.dataset.state = connection;
    state.title = title;
    replace(state, h("span.shape", { "aria-hidden": "true" }, shape), " " + label);
  };

  // What is shown may be old if the stream is lost, if the node does not answer, or if it has no quorum.
  const drawBanner = (): void => {
    const { status, self, selfAt, at, error } = standing();
    let line = "";
    if (connection === "lost") {
      line = `The connection to the node is lost. What is shown is as of ${stamp(since)}, ${past(since)}. The page tries again by itself.`;
    } else if (error && !error.status && status) {
      line = `The node does not answer. What is shown of the cluster is as of ${stamp(at)}, ${past(at)}.`;
    } else if (alone()) {
      const { leader_age_seconds: age, start_time } = self!.members.find((m) => m.member.name === self!.node) ?? {};
      const old = age !== undefined ? `is ${oneUnit(age + (Date.now() - selfAt) / 1000)} old` : start_time && `is from before it was started, ${past(Date.parse(start_time))}`;
      line = `${self!.node} hears no leader, so nothing can be changed and nothing new comes${old ? `: what is shown ${old}` : ""}. See Cluster for why.`;
    }
    banner.hidden = line === "";
    text(banner, line);
  };

  const drawCluster = (): void => {
    const { status, self } = standing();
    if (self) {
      const revision = Math.max(self.revision, services.synced ? services.revision : 0);
      node.hidden = false;
      text(node, `${self.node} · revision ${number(revision)}`);
      node.title = `Cluster ${self.cluster_id}, seen by node ${self.node}`;
    }
    if (status) {
      problems.hidden = status.problems.length === 0;
      text(problems, "▲ " + plural(status.problems.length, "problem"));
      problems.title = status.problems.slice(0, 5).join("\n");
    }
    drawBanner();
  };

  const drawWho = (): void => {
    whoami().then(
      (w) => {
        text(who, w.identity);
        who.title = w.enforced ? `The node takes you for ${w.identity} (${w.how}).` : "Access is not enforced: everybody may do everything.";
      },
      (e) => {
        text(who, token() ? "sign in again" : "sign in");
        who.title = String(e.message);
      },
    );
  };

  onConnection((s, from) => {
    const back = connection === "lost" && s === "live";
    connection = s;
    since = from;
    drawConnection();
    drawBanner();
    if (back) {
      refreshMe();
      drawWho();
    }
  });
  onCluster(drawCluster);
  services.subscribe(() => {
    if (standing().self) drawCluster();
  });
  onToken(drawWho);
  drawWho();
  setInterval(() => {
    if (!document.hidden && !banner.hidden) drawBanner();
  }, 1000);

  const el = h("header.bar",
    h("a.skip", { href: "#main" }, "Skip to the content"),
    h("a.brand", { href: "/ui/" }, "Rollcall"),
    h("nav", { "aria-label": "Views" }, ...links),
    h("div.facts", problems, node, state, who),
  );
  return {
    el,
    banner,
    at(path) {
      for (const a of links) {
        if (a.dataset.path === path || (path === "service" && a.dataset.path === "")) a.setAttribute("aria-current", "page");
        else a.removeAttribute("aria-current");
      }
    },
  };
}
