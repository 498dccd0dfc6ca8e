// Small things that every view needs: elements, numbers for people, questions to the server. What comes from topics is
// only ever set as text.

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Empty lists come as {}.
export function list(value) {
  return Array.isArray(value) ? value : [];
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function count(n) {
  return n === undefined || n === null ? "–" : whole.format(n);
}

export function bytes(n) {
  if (n === undefined || n === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${short.format(n)} ${units[unit]}`;
}

export function rate(n) {
  return n === undefined || n === null ? "–" : `${short.format(n)}/s`;
}

export function duration(ms) {
  if (ms < 0) return "for ever";
  const units = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]];
  for (const [name, size] of units) if (ms >= size) return `${short.format(ms / size)} ${name}`;
  return `${ms} ms`;
}

// Times are UTC, as in the records.
export function time(ms) {
  if (!ms) return "no time";
  return new Date(ms).toISOString().replace("T", " ").replace("Z", "");
}

export function clock(ms) {
  return ms ? `${new Date(ms).toISOString().slice(11, 19)} UTC` : "never";
}

export class Failure extends Error {}

// Asks for JSON; a Failure says what was wrong in words for people.
export async function ask(path, parameters, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters || {})) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  let response, answer;
  try {
    response = await fetch(`${path}?${query}`, { signal, cache: "no-store" });
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("dbobs ui does not answer: it has ended, or the connection is gone. Trying again.");
  }
  if (!response.ok) throw new Failure(answer.error || `dbobs ui answered ${response.status}`);
  return answer;
}

// A table: columns are [heading, class]; each row is a list of nodes or texts, of which the first is the row's heading.
export function table(caption, columns, rows, properties) {
  const cell = (value, i) => i === 0
    ? h("th", { scope: "row" }, value)
    : h("td", { class: columns[i][1], "data-label": columns[i][0] }, value);
  return h("table", properties,
    caption ? h("caption", {}, caption) : null,
    h("thead", {}, h("tr", {}, ...columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell)))));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== null)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
