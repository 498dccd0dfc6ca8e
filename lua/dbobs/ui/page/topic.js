// A topic: what is known of it, and its records.
import { ask, bytes, clock, count, facts, h, list, table, time } from "./dom.js";
import { partitions, rates, retention, size } from "./overview.js";
import { recordItem } from "./record.js";

// Rows that are kept while records come live.
const KEPT = 500;

const PLACES = [["newest", "newest first"], ["live", "live"], ["beginning", "from the beginning"],
  ["offset", "from an offset"], ["time", "from a time"]];

export class TopicView {
  constructor(main, name, parameters) {
    this.name = name;
    this.facts = h("div", {});
    this.state = h("p", { class: "state", role: "status" });
    this.records = h("ol", { class: "records", "aria-label": `Records of ${name}` });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.goOn() }, "Go on");
    this.partitionBox = h("div", { class: "scroll" });
    this.details = h("details", { ontoggle: () => this.drawPartitions() },
      h("summary", {}, "Partitions and settings"), this.partitionBox);
    main.replaceChildren(h("p", {}, h("a", { href: "#/" }, "← All topics")), h("h2", {}, name), this.facts,
      this.details, h("h3", {}, "Records"), this.makeForm(parameters), this.state, this.records,
      h("div", { class: "bar" }, this.more));
    this.show();
  }

  makeForm(parameters) {
    const field = (label, input) => h("label", {}, label, input);
    const chosen = parameters.get("from") || "newest";
    this.from = h("select", { name: "from", onchange: () => this.fit() }, ...PLACES.map(([value, text]) =>
      h("option", { value, selected: value === chosen }, text)));
    const input = (name, hint) => h("input", { name, value: parameters.get(name) || "", placeholder: hint,
      autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
    this.at = input("at", "");
    this.atLabel = h("label", {}, this.atName = document.createTextNode(""), this.at);
    this.partition = input("partition", "all");
    this.partition.setAttribute("inputmode", "numeric");
    this.key = input("key", "any");
    this.text = input("text", "anything");
    this.form = h("form", { "aria-label": "Which records", onsubmit: (event) => this.submit(event) },
      field("Show", this.from), this.atLabel, field("Partition", this.partition),
      field("Key contains", this.key), field("Value contains", this.text),
      h("button", { class: "main" }, "Show"),
      this.stopButton = h("button", { type: "button", hidden: true, onclick: () => this.stop("Stopped.") }, "Stop"));
    this.fit();
    return this.form;
  }

  fit() {
    const place = this.from.value;
    this.atLabel.hidden = place !== "offset" && place !== "time";
    this.atName.textContent = place === "time" ? "Time (UTC), or how long ago" : "Offset (-100: the last 100)";
    this.at.placeholder = place === "time" ? "2026-01-31T12:00 or 10m" : "0";
  }

  // What is asked for, as it stands in the page's address.
  parameters() {
    const given = { from: this.from.value, at: this.atLabel.hidden ? "" : this.at.value.trim(),
      partition: this.partition.value.trim(), key: this.key.value, text: this.text.value };
    return new URLSearchParams(Object.entries(given).filter(([name, value]) =>
      value !== "" && !(name === "from" && value === "newest")));
  }

  submit(event) {
    event.preventDefault();
    const query = this.parameters().toString();
    history.replaceState(null, "", `#/topic/${encodeURIComponent(this.name)}${query ? `?${query}` : ""}`);
    this.show();
  }

  question() {
    const place = this.from.value;
    const at = this.at.value.trim();
    const from = place === "offset" ? at || "0" : place === "time" ? at || "10m" : place;
    return { topic: this.name, from, partition: this.partition.value.trim(), key: this.key.value,
      text: this.text.value };
  }

  show() {
    this.stop("");
    this.records.replaceChildren();
    this.more.hidden = true;
    this.asked = this.question();
    this.looked = 0;
    this.place = {};
    if (this.asked.from === "live") this.follow();
    else this.read();
  }

  // ---- page by page

  async read() {
    const abort = this.abort = new AbortController();
    this.state.textContent = this.asked.key || this.asked.text ? "Searching …" : "Reading …";
    this.stopButton.hidden = false;
    try {
      const page = await ask("/api/records", { ...this.asked, ...this.place }, abort.signal);
      if (abort === this.abort) this.take(page);
    } catch (error) {
      if (error.name !== "AbortError" && abort === this.abort) this.fail(error.message);
    }
    if (abort === this.abort) this.stopButton.hidden = true;
  }

  take(page) {
    this.looked += page.looked_at;
    this.records.append(...list(page.rows).map((row) => recordItem(this.name, row)));
    this.place = { go_on: page.go_on, size: page.size };
    const forward = page.more !== undefined;
    this.more.hidden = !page.go_on;
    this.more.textContent = forward ? page.more ? "Go on" : "Look for later ones" : "Go on to older ones";
    const shown = this.records.children.length;
    const filtered = this.asked.key || this.asked.text;
    const notes = [shown === 0 ? "No records" : `${count(shown)} ${shown === 1 ? "record" : "records"}`];
    if (filtered) notes.push(`${count(this.looked)} looked at`);
    if (filtered && page.oldest && page.go_on) notes.push(`back to ${time(page.oldest)}`);
    if (forward ? !page.more : !page.go_on) notes.push(forward ? "this is the end" : "there are no older ones");
    else if (page.limited && filtered) notes.push("the search stopped for a while: go on for more");
    if (list(page.silent).length) notes.push(`partition ${list(page.silent).join(", ")} did not answer`);
    this.state.textContent = `${notes.join("; ")}.${page.problem ? ` Not all partitions: ${page.problem}` : ""}`;
  }

  goOn() {
    const before = this.records.children.length;
    this.read().then(() => this.records.children[before]?.querySelector("button").focus());
  }

  fail(text) {
    this.state.replaceChildren(h("span", { class: "warn" }, text));
    this.more.hidden = false;
    this.more.textContent = "Try again";
  }

  // ---- live

  follow() {
    const { from, ...asked } = this.asked;
    this.shown = 0;
    this.stopButton.hidden = false;
    this.state.textContent = "Connecting …";
    this.listen(asked);
  }

  listen(asked) {
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    const source = this.source = new EventSource(`/api/live?${query}`);
    let next = asked;  // where to go on when the connection is lost
    source.addEventListener("begin", (event) => {
      next = { ...asked, go_on: event.lastEventId };
      if (this.shown === 0) this.state.textContent = "Live: waiting for records.";
    });
    source.addEventListener("rows", (event) => {
      next = { ...asked, go_on: event.lastEventId };
      this.takeLive(JSON.parse(event.data));
    });
    source.addEventListener("problem", (event) => this.warn(JSON.parse(event.data).text));
    source.addEventListener("refused", (event) => {
      this.stop("");
      this.warn(JSON.parse(event.data).text);
    });
    source.onerror = () => {
      source.close();
      if (source !== this.source) return;
      this.warn("The connection to dbobs ui is gone. Trying again.");
      setTimeout(() => {
        if (source === this.source) this.listen(next);
      }, 2000);
    };
  }

  takeLive(batch) {
    this.shown += list(batch.rows).length + batch.skipped;
    this.records.prepend(...list(batch.rows).reverse().map((row) => recordItem(this.name, row)));
    while (this.records.children.length > KEPT) this.records.lastElementChild.remove();
    const left = batch.skipped ? `; they come fast: ${count(batch.skipped)} of the last are not shown` : "";
    this.state.textContent = `Live: ${count(this.shown)} records${left}.`;
  }

  warn(text) {
    this.state.replaceChildren(h("span", { class: "warn" }, text));
  }

  stop(text) {
    this.abort?.abort();
    this.source?.close();
    this.abort = this.source = null;
    this.stopButton.hidden = true;
    if (text) this.state.textContent = text;
  }

  // ---- what is known

  update(overview) {
    const topic = list(overview.topics).find((one) => one.name === this.name);
    if (!topic) {
      const missing = `There is no topic ${this.name}, or the Kafka user may not see it.`;
      const text = overview.time ? missing : "Not known yet.";
      this.facts.replaceChildren(h("p", { class: overview.time ? "problem" : "faint" }, text));
      return;
    }
    this.facts.replaceChildren(facts([["Records", count(topic.records)], ["Size", size(topic)],
      ["Average record", topic.record_bytes ? `~${bytes(topic.record_bytes)}` : "…"], ["Rate", rates(topic)],
      ["Retention", retention(topic)], ["Partitions", partitions(topic)]]));
  }

  async drawPartitions() {
    if (!this.details.open) return;
    try {
      const topic = await ask("/api/topic", { topic: this.name });
      const columns = [["Partition"], ["Leader", "number"], ["In sync", "number"], ["First", "number"],
        ["End", "number"], ["Records", "number"]];
      const groups = list(topic.groups).map((group) => [group.name, group.state, count(group.lag)]);
      this.partitionBox.replaceChildren(
        table(null, columns, list(topic.partitions).map((one) => [String(one.id),
          one.leader < 0 ? "none" : String(one.leader), `${one.in_sync} of ${one.replicas}`, count(one.low),
          count(one.high), one.high === undefined ? "–" : count(one.high - one.low)]), { class: "cards" }),
        groups.length ? table("Consumer groups", [["Group"], ["State"], ["Lag", "number"]], groups, { class: "cards" })
          : h("p", { class: "faint" }, "No consumer group has committed an offset here."),
        table("Settings", [["Setting"], ["Value"]], Object.entries(topic.config || {}).sort()
          .map(([name, value]) => [name, value]), {}),
        h("p", { class: "faint" }, `As of ${clock(topic.now)}.`));
    } catch (error) {
      this.partitionBox.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  }

  close() {
    this.stop("");
  }
}
