import { startCluster } from "./cluster";
import { h } from "./dom";
import { refreshAges } from "./format";
import { header } from "./header";
import { route } from "./router";
import * as access from "./views/access";
import * as cluster from "./views/cluster";
import * as events from "./views/events";
import * as map from "./views/map";
import * as service from "./views/service";

const head = header();
const main = h("main", { id: "main", tabindex: "-1" });
document.body.append(head.el, head.banner, main);
startCluster();
route(main, {
  "": { title: "Map", mount: map.mount },
  service: { title: "Service", mount: service.mount },
  events: { title: "Events", mount: events.mount },
  cluster: { title: "Cluster", mount: cluster.mount },
  access: { title: "Access", mount: access.mount },
}, head.at);

setInterval(() => {
  if (!document.hidden) refreshAges(main);
}, 5_000);
