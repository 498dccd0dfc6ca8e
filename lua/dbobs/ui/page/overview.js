// The first view: brokers, topics, consumer groups.
import { bytes, clock, count, duration, h, list, rate, table } from "./dom.js";

export function topicLink(name) {
  return `#/topic/${encodeURIComponent(name)}`;
}

export function retention(topic) {
  if (topic.config_error) return h("span", { class: "warn", title: topic.config_error }, "not told");
  if (topic.retention_ms === undefined) return "…";
  const parts = [];
  const deletes = !topic.cleanup || topic.cleanup.includes("delete");
  if (deletes) parts.push(duration(topic.retention_ms));
  if (deletes && topic.retention_bytes >= 0) parts.push(`${bytes(topic.retention_bytes)} a partition`);
  if (topic.cleanup && topic.cleanup.includes("compact")) parts.push("compacted");
  return parts.join(", ");
}

export function size(topic) {
  if (topic.records === 0) return "0 B";
  if (topic.bytes === undefined) return "…";
  const title = `estimated from ${count(topic.sampled)} sampled records, before compression`;
  return h("span", { title }, `~${bytes(topic.bytes)}`);
}

export function partitions(topic) {
  if (topic.error) return h("span", { class: "warn" }, topic.error);
  const notes = [];
  if (topic.leaderless) notes.push(`${topic.leaderless} without a leader`);
  if (topic.behind) notes.push(`${topic.behind} with replicas behind`);
  const text = `${count(topic.partitions)}${topic.replication > 1 ? ` × ${topic.replication}` : ""}`;
  return notes.length ? h("span", {}, text, " ", h("span", { class: "warn" }, notes.join(", "))) : text;
}

export function rates(topic) {
  if (topic.rate === undefined) return "…";
  return topic.byte_rate ? `${rate(topic.rate)}, ~${bytes(topic.byte_rate)}/s` : rate(topic.rate);
}

function topicTable(topics) {
  const columns = [["Topic"], ["Partitions", "number"], ["Records", "number"], ["Size", "number"], ["Rate", "number"],
    ["Retention"]];
  return table(null, columns, topics.map((topic) => [
    h("a", { href: topicLink(topic.name) }, topic.name),
    partitions(topic), count(topic.records), size(topic), rates(topic), retention(topic),
  ]), { class: "cards" });
}

function groupRows(group) {
  const topics = list(group.topics);
  const members = list(group.members);
  const state = group.error ? h("span", { class: "warn" }, group.error) : group.state;
  const where = topics.length === 0 ? "–" : h("span", {}, ...topics.flatMap((topic, i) => [
    i ? ", " : "", h("a", { href: topicLink(topic.name) }, topic.name), ` ${count(topic.lag)}`,
    topic.uncommitted ? ` (${count(topic.uncommitted)} partitions without an offset)` : ""]));
  const title = members.map((member) => `${member.client} ${member.host}: ${member.partitions} partitions`).join("\n");
  return [group.name, state, h("span", { title: title || null }, count(members.length)), count(group.lag), where];
}

function groupTable(groups) {
  const columns = [["Group"], ["State"], ["Members", "number"], ["Lag", "number"], ["Lag by topic"]];
  return table(null, columns, groups.map(groupRows), { class: "cards" });
}

function brokerTable(brokers) {
  const columns = [["Broker"], ["Address"], ["Leads"]];
  return table(null, columns, brokers.map((broker) => [
    String(broker.id), `${broker.host}:${broker.port}`, `${count(broker.leads)} partitions`,
  ]), { class: "cards" });
}

function topicSection(overview) {
  const all = list(overview.topics);
  const own = all.filter((topic) => !topic.internal);
  const internal = all.filter((topic) => topic.internal);
  const none = overview.time
    ? "There are no topics yet. They appear here as soon as somebody creates them: dbobs topics create"
    : "Not known yet.";
  return [
    h("h2", {}, `Topics (${count(own.length)})`),
    own.length ? topicTable(own) : h("p", { class: "faint" }, none),
    internal.length ? h("details", { id: "internal" },
      h("summary", {}, `Kafka's own topics (${count(internal.length)})`), topicTable(internal)) : "",
  ];
}

function groupSection(overview) {
  const groups = list(overview.groups);
  const note = overview.groups_problem
    ? h("p", { class: "problem" }, overview.groups_problem)
    : h("p", { class: "faint" }, overview.time ? "There are no consumer groups." : "Not known yet.");
  return [h("h2", {}, `Consumer groups (${count(groups.length)})`), groups.length ? groupTable(groups) : note];
}

// Draws the view into `main`; focus and what is unfolded stay where they were.
export function showOverview(main, overview) {
  const focused = document.activeElement && main.contains(document.activeElement)
    ? document.activeElement.getAttribute("href") : null;
  const unfolded = main.querySelector("#internal")?.open;
  main.replaceChildren(...topicSection(overview), ...groupSection(overview),
    h("h2", {}, `Brokers (${count(list(overview.brokers).length)})`), brokerTable(list(overview.brokers)),
    h("p", { class: "faint" }, `As of ${clock(overview.time)}.`));
  if (unfolded) main.querySelector("#internal").open = true;
  if (focused) for (const link of main.querySelectorAll("a")) if (link.getAttribute("href") === focused) {
    link.focus({ preventScroll: true });
    break;
  }
}
