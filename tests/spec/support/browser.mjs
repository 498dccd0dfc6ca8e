// Drives headless Chromium over a pipe (the DevTools protocol): node browser.mjs PROFILE URL <script. The script is the
// body of an async function with `page`; what it returns is printed as JSON. Exits with 1 when it throws, and when the
// page wrote an error to its console or broke its Content-Security-Policy.
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const [profile, url] = process.argv.slice(2);
const LIMIT = 60000;

const chromium = spawn("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
  "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
  "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });

const waiting = new Map();
const errors = [];
let number = 0;
let session;

function take(message) {
  if (message.id) {
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  } else if (message.method === "Runtime.exceptionThrown") {
    errors.push(message.params.exceptionDetails.exception?.description || message.params.exceptionDetails.text);
  } else if (message.method === "Log.entryAdded" && message.params.entry.level === "error") {
    errors.push(`${message.params.entry.text} ${message.params.entry.url || ""}`);
  }
}

let rest = Buffer.alloc(0);
chromium.stdio[4].on("data", (data) => {
  rest = Buffer.concat([rest, data]);
  for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
    const message = JSON.parse(rest.subarray(0, end).toString());
    rest = rest.subarray(end + 1);
    take(message);
  }
});

function send(method, params = {}) {
  const id = ++number;
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  chromium.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`);
  return answer;
}

const KEYS = { Enter: 13, Tab: 9, " ": 32 };

const page = {
  errors,
  send,
  // Sets the size of the window in CSS pixels, and whether the system prefers dark colours.
  async window(width, height, dark = false) {
    await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
    await send("Emulation.setEmulatedMedia",
      { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  },
  async open(address) {
    await send("Page.navigate", { url: new URL(address, url).href });
  },
  async evaluate(expression) {
    const answer = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(`${expression}: ${answer.exceptionDetails.exception?.description}`);
    return answer.result.value;
  },
  // Waits until the expression holds; returns its value.
  async until(expression) {
    const end = Date.now() + LIMIT;
    for (;;) {
      const value = await page.evaluate(expression).catch(() => null);
      if (value) return value;
      if (Date.now() > end) {
        throw new Error(`waited in vain for ${expression}; the page says: ${await page.text()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  text() {
    return page.evaluate("document.body.innerText");
  },
  async says(text) {
    await page.until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  },
  async key(name) {
    const params = { key: name, code: name === " " ? "Space" : name, windowsVirtualKeyCode: KEYS[name],
      text: name === "Enter" ? "\r" : name === " " ? " " : undefined };
    await send("Input.dispatchKeyEvent", { type: "keyDown", ...params });
    await send("Input.dispatchKeyEvent", { type: "keyUp", ...params });
  },
  async type(text) {
    await send("Input.insertText", { text });
  },
  // Presses Tab until an element that fits has the focus.
  async tabTo(selector) {
    for (let i = 0; i < 200; i++) {
      await page.key("Tab");
      if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return;
    }
    throw new Error(`Tab does not lead to ${selector}`);
  },
  async screenshot(path) {
    const { data } = await send("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Buffer.from(data, "base64"));
  },
};

async function run() {
  const { targetInfos } = await send("Target.getTargets");
  const target = targetInfos.find((one) => one.type === "page");
  ({ sessionId: session } = await send("Target.attachToTarget", { targetId: target.targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log"]) await send(`${domain}.enable`);
  await page.window(1280, 900);
  await page.open("/");
  const script = readFileSync(0, "utf8");
  const AsyncFunction = run.constructor;
  const result = await new AsyncFunction("page", script)(page);
  if (errors.length) throw new Error(`the page had errors:\n${errors.join("\n")}`);
  return result;
}

let code = 0;
try {
  console.log(JSON.stringify(await run() ?? null));
} catch (error) {
  console.log(error.stack);
  code = 1;
}
session = undefined;
await Promise.race([send("Browser.close").catch(() => null), new Promise((resolve) => setTimeout(resolve, 5000))]);
chromium.kill("SIGKILL");
process.exit(code);
