// One record: its row in the list, and the whole of it, decoded, when it is opened.
import { ask, bytes, clock, count, facts, h, list, table, time } from "./dom.js";

// More than this of a text is shown on demand only.
const PART = 65536;

// JSON with line ends and indents, made from its text: every number keeps all its digits.
export function formatJson(text) {
  const out = [];
  let depth = 0;
  const newLine = () => "\n" + "  ".repeat(depth);
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  const tokens = text.match(token) || [];
  tokens.forEach((part, i) => {
    const empty = (part === "{" && tokens[i + 1] === "}") || (part === "[" && tokens[i + 1] === "]");
    if (part === "{" || part === "[") {
      depth++;
      out.push(part, empty ? "" : newLine());
    } else if (part === "}" || part === "]") {
      depth--;
      const opened = tokens[i - 1] === "{" || tokens[i - 1] === "[";
      out.push(opened ? "" : newLine(), part);
    } else if (part === ",") {
      out.push(part, newLine());
    } else {
      out.push(part === ":" ? ": " : part);
    }
  });
  return out.join("");
}

// A text in full when it is short, else its beginning and a button for the rest.
function textBlock(text, kind) {
  const block = h("pre", { class: kind || null, tabindex: "0" }, text.slice(0, PART));
  if (text.length <= PART) return [block];
  const button = h("button", { type: "button", onclick: () => {
    block.textContent = text;
    block.focus();
    button.remove();
  } }, `Show all ${count(text.length)} characters`);
  return [block, button];
}

// ---- OTLP ------------------------------------------------------------------

function attributeValue(value) {
  if (!value) return "";
  const [, inner] = Object.entries(value)[0] || ["", ""];
  return typeof inner === "object" ? JSON.stringify(inner) : String(inner);
}

function attributes(of) {
  return list(of).map((attribute) => `${attribute.key}=${attributeValue(attribute.value)}`).join(", ");
}

function pointValue(point) {
  if (point.asInt !== undefined) return String(point.asInt);
  if (point.asDouble !== undefined) return String(point.asDouble);
  if (point.count !== undefined) return `count ${point.count}${point.sum === undefined ? "" : `, sum ${point.sum}`}`;
  return "–";
}

function pointRows(metric) {
  for (const kind of ["gauge", "sum", "histogram", "exponentialHistogram", "summary"]) {
    if (!metric[kind]) continue;
    const sort = kind === "sum" && metric.sum.isMonotonic ? "counter" : kind;
    return list(metric[kind].dataPoints).map((point) => [
      metric.name, pointValue(point), metric.unit || "", attributes(point.attributes), sort,
      clock(Number(String(point.timeUnixNano || "0").slice(0, -6))),
    ]);
  }
  return [[metric.name, "–", metric.unit || "", "", "", ""]];
}

const SHOWN_RESOURCES = 50;

function resource(one, i) {
  const rows = list(one.scopeMetrics).flatMap((scope) => list(scope.metrics)).flatMap(pointRows);
  const named = list(one.resource?.attributes);
  const columns = [["Name"], ["Value", "number"], ["Unit"], ["Attributes"], ["Kind"], ["Time"]];
  return h("section", {},
    h("h3", {}, `Resource ${i + 1}`),
    facts(named.map((attribute) => [attribute.key, attributeValue(attribute.value)])),
    h("div", { class: "scroll" }, table(`${count(rows.length)} points`, columns, rows, { class: "cards" })));
}

function otlp(text) {
  const resources = list(JSON.parse(text).resourceMetrics);
  const shown = resources.slice(0, SHOWN_RESOURCES).map(resource);
  if (resources.length <= SHOWN_RESOURCES) return shown;
  const box = h("div", {}, ...shown);
  const button = h("button", { type: "button", onclick: () => {
    box.replaceChildren(...resources.map(resource));
    button.remove();
  } }, `Show all ${count(resources.length)} resources`);
  return [box, button];
}

// ---- the whole -------------------------------------------------------------

function views(whole) {
  const { kind } = whole.row;
  if (kind === "nothing") {
    return [["Value", () => [h("p", {}, "No value: a record that deletes its key (a tombstone).")]]];
  }
  if (kind === "otlp") {
    return [["Metrics", () => otlp(whole.value)], ["OTLP as JSON", () => textBlock(formatJson(whole.value))]];
  }
  const plain = () => textBlock(whole.value);
  if (kind === "json") return [["JSON", () => textBlock(formatJson(whole.value))], ["As sent", plain]];
  if (kind === "binary") return [["Bytes", () => textBlock(whole.hex, "hex")], ["As text", plain]];
  return [["Text", plain]];
}

function drawWhole(box, topic, whole) {
  const { row } = whole;
  const place = { topic, partition: row.partition, offset: row.offset };
  const all = views(whole);
  const content = h("div", {});
  const buttons = all.map(([name, draw], i) => h("button", { type: "button", "aria-pressed": String(i === 0),
    onclick: () => choose(i, draw) }, name));
  const choose = (chosen, draw) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
    content.replaceChildren(...draw());
  };
  choose(0, all[0][1]);
  const headers = Object.entries(whole.headers);
  box.replaceChildren(
    facts([["Key", whole.key === null ? "none" : whole.key], ["Time (UTC)", time(row.time)],
      ["Partition", String(row.partition)], ["Offset", String(row.offset)], ["Size", bytes(row.size)],
      ["Headers", headers.length ? headers.map(([name, value]) => `${name}=${value}`).join(", ") : null]]),
    h("div", { class: "bar" }, ...(all.length > 1 ? buttons : []),
      h("a", { href: `/api/value?${new URLSearchParams(place)}`, download: "" }, "Download the value")),
    content);
}

async function open(box, topic, row) {
  box.replaceChildren(h("p", { class: "faint" }, "Reading the record …"));
  try {
    drawWhole(box, topic, await ask("/api/record", { topic, partition: row.partition, offset: row.offset }));
  } catch (error) {
    box.replaceChildren(h("p", { class: "problem" }, error.message));
  }
}

let boxes = 0;

// The row of a record; opened, the record is read and shown whole.
export function recordItem(topic, row) {
  const box = h("div", { class: "whole", id: `record-${++boxes}`, hidden: true });
  const button = h("button", { class: "row", type: "button", "aria-expanded": "false", "aria-controls": box.id,
    onclick: () => {
      const opens = box.hidden;
      box.hidden = !opens;
      button.setAttribute("aria-expanded", String(opens));
      if (opens) open(box, topic, row);
      else box.replaceChildren();
    } },
    h("span", {}, time(row.time)),
    h("span", { title: "partition and offset" }, `${row.partition} / ${row.offset}`),
    h("span", {}, row.key === undefined ? h("i", { class: "faint" }, "no key") : row.key),
    h("span", {}, bytes(row.size)),
    h("span", { class: "says" }, h("b", { class: "kind" }, row.kind), row.text));
  return h("li", {}, button, box);
}
