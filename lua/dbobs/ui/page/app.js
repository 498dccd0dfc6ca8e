// The page: which view is shown, and what is known of the cluster, asked again every few seconds.
import { ask, clock } from "./dom.js";
import { showOverview } from "./overview.js";
import { TopicView } from "./topic.js";

const PAUSE = 3000;

const main = document.getElementById("main");
const problem = document.getElementById("problem");
const cluster = document.getElementById("cluster");

let view = null;  // a topic's; null: the overview
let overview = null;
let timer = null;

function say(text) {
  if (problem.textContent !== text) problem.textContent = text;
  problem.hidden = text === "";
}

function draw() {
  if (!overview) return;
  if (view) view.update(overview);
  else showOverview(main, overview);
}

async function refresh() {
  clearTimeout(timer);
  try {
    overview = await ask("/api/overview");
    cluster.textContent = `Kafka at ${overview.address}`;
    const seen = overview.time ? ` What is shown was true at ${clock(overview.time)}.` : "";
    say(overview.problem ? `Kafka does not answer since ${clock(overview.problem_since)}: ${overview.problem}. `
      + `Trying again.${seen}` : "");
    draw();
  } catch (error) {
    say(error.message);
  }
  timer = setTimeout(refresh, document.hidden ? PAUSE * 5 : overview?.time ? PAUSE : 500);
}

function route() {
  view?.close();
  view = null;
  const [, name, query] = /^#\/topic\/([^?]+)\??(.*)$/.exec(location.hash) || [];
  if (name) {
    const topic = decodeURIComponent(name);
    document.title = `${topic} - dbobs topics`;
    view = new TopicView(main, topic, new URLSearchParams(query));
  } else {
    document.title = "dbobs topics";
    main.replaceChildren();
  }
  draw();
  window.scrollTo(0, 0);
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  route();
  main.focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
route();
refresh();
