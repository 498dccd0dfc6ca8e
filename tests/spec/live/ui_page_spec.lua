local browser = require "support.browser"
local kafka = require "dbobs.kafka"
local otlp = require "dbobs.otlp"
local process = require "support.process"
local servers = require "support.servers"
local support = require "support.kafka"
local timer = require "dbobs.timer"

describe("the page of the topic monitor", function()
  local broker, client, ui, address

  local function start()
    ui = process.start { "ui", "--address", "127.0.0.1:0", "--brokers", broker.bootstrap }
    address = ui:says("(http://%S+/)\n", "out")
  end

  setup(function()
    broker = servers.kafka()
    client = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["linger.ms"] = 0,
      ["message.max.bytes"] = 4000000 }
    start()
  end)

  teardown(function()
    client:close()
    ui:signal "TERM"
    assert(ui:wait() == 0)
  end)

  local function new_topic(partitions, config)
    local name = support.name "page"
    assert(client:create_topic(name, { partitions = partitions or 1, config = config }))
    return name, client:topic(name)
  end

  -- Runs a script with texts for its $names.
  local function drive(script, texts)
    return browser.run(address, (script:gsub("%$(%l+)", texts)))
  end

  it("shows the cluster, and leads to a topic's records, with the keyboard alone", function()
    local name, topic = new_topic(2, { ["retention.ms"] = "604800000" })
    for i = 1, 120 do topic:send("k" .. i, ('{"n":%d,"big":9007199254740993123}'):format(i)) end
    assert(client:flush(60))
    local found = drive([[
      await page.says("$name");
      await page.until("document.body.innerText.includes('7 d') && document.body.innerText.includes('~')");
      const overview = await page.text();
      await page.tabTo("a[href='#/topic/$name']");
      await page.key("Enter");
      await page.says("50 records");
      await page.tabTo(".row");
      await page.key("Enter");
      await page.until("document.querySelector('.whole pre')");
      const whole = await page.evaluate("document.querySelector('.whole').innerText");
      await page.key("Enter");
      await page.until("!document.querySelector('.whole pre')");
      await page.evaluate("[...document.querySelectorAll('.row')].at(-1).focus()");
      await page.tabTo(".bar > button");
      await page.key("Enter");
      await page.says("100 records");
      const focus = await page.evaluate(
        "[...document.querySelectorAll('.row')].indexOf(document.activeElement)");
      return { overview, whole, focus, title: await page.evaluate("document.title") };
    ]], { name = name })
    assert.matches(broker.bootstrap, found.overview, 1, true)
    assert.matches(name:gsub("%-", "%%-") .. "\t2\t120\t~%S+ KiB\t", found.overview)
    assert.is_nil(found.overview:find("null", 1, true))
    assert.matches('{\n  "n": %d+,\n  "big": 9007199254740993123\n}', found.whole)
    assert.equal(50, found.focus)
    assert.equal(name .. " - dbobs topics", found.title)
  end)

  it("filters, begins where it is told, and keeps what is asked for in its address", function()
    local name, topic = new_topic()
    for i = 1, 80 do topic:send("k" .. i, "value " .. i) end
    assert(client:flush(60))
    local found = drive([[
      await page.open("/#/topic/$name");
      await page.says("50 records");
      await page.tabTo("input[name=text]");
      await page.type("value 7");
      await page.key("Enter");
      await page.says("11 records; 80 looked at; there are no older ones");
      const first = await page.evaluate("document.querySelector('.row').innerText");
      const hash = await page.evaluate("location.hash");
      await page.open("/#/topic/$name?from=offset&at=76");
      await page.says("4 records; this is the end");
      await page.open("/#/topic/$name?from=time&at=yesterday");
      await page.says("a time like");
      await page.open("/#/topic/no-such-topic");
      await page.says("There is no topic no-such-topic");
      page.errors.length = 0;  // the refusals above, as the console tells them
      return { first, hash };
    ]], { name = name })
    assert.matches("value 79", found.first)
    assert.equal("#/topic/" .. name .. "?text=value+7", found.hash)
  end)

  it("shows OTLP as resources, names, values and attributes", function()
    local name, topic = new_topic()
    local request = otlp.request { scope = "spec", key = "host:db", time = timer.wall(), sink = topic,
      resource = { { "db.name", "shop" } } }
    request:resource { { "postgresql.table.name", "public.orders" } }
    request:point({ name = "postgresql.rows", unit = "1", kind = "sum" }, 42, { { "state", "live" } })
    request:point({ name = "postgresql.table.size", unit = "By", kind = "gauge" }, "9007199254740993123")
    assert(request:finish())
    assert(client:flush(60))
    local found = drive([[
      await page.open("/#/topic/$name");
      await page.says("1 record");
      await page.evaluate("document.querySelector('.row').click()");
      await page.says("Resource 1");
      const table = await page.evaluate("document.querySelector('.whole').innerText");
      await page.evaluate("document.querySelectorAll('.whole button')[1].click()");
      await page.says("resourceMetrics");
      return table;
    ]], { name = name })
    assert.matches("db.name\nshop\npostgresql.table.name\npublic.orders", found)
    assert.matches("postgresql.rows\t42\t1\tstate=live\tsum", found)
    assert.matches("postgresql.table.size\t9007199254740993123\tBy\t\tgauge", found)
  end)

  it("shows foreign bytes as text and runs none of them, and a large record whole on demand", function()
    local name, topic = new_topic(1, { ["max.message.bytes"] = "4000000" })
    local attack = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    topic:send(attack, attack)
    topic:send("json", '{"' .. attack:gsub('"', "'") .. '":1}')
    topic:send("bytes", ("\0\255"):rep(64))
    topic:send("large", '{"text":"' .. ("0123456789"):rep(100000) .. '","end":"the end"}')
    assert(client:flush(60))
    local found = drive([[
      await page.open("/#/topic/$name");
      await page.says("4 records");
      const rows = await page.evaluate("[...document.querySelectorAll('.row')].map((row) => row.textContent.length)");
      for (let i = 0; i < 4; i++) {
        await page.evaluate(`document.querySelectorAll('.row')[${i}].click()`);
        await page.until(`document.querySelectorAll('.whole')[${i}].querySelector('pre')`);
      }
      const texts = await page.evaluate("[...document.querySelectorAll('.whole pre')].map((pre) => pre.textContent)");
      await page.evaluate(
        "[...document.querySelectorAll('.whole button')].find((b) => b.textContent.startsWith('Show all')).click()");
      await page.until("document.querySelector('.whole pre').textContent.includes('the end')");
      return { rows, first: texts[3], json: texts[2], bytes: texts[1], large: texts[0].length,
        title: await page.evaluate("document.title"),
        made: await page.evaluate("document.querySelectorAll('main img, main script').length") };
    ]], { name = name })
    assert.equal(attack, found.first)
    assert.matches("<script>", found.json, 1, true)
    assert.matches("00000000  00 ff 00 ff", found.bytes)
    assert.is_true(found.large <= 65536)
    for _, length in ipairs(found.rows) do assert.is_true(length < 600) end
    assert.equal(name .. " - dbobs topics", found.title)
    assert.equal(0, found.made)
  end)

  it("fits a phone", function()
    local name, topic = new_topic()
    topic:send(("long-key-"):rep(20), '{"' .. ("long"):rep(100) .. '":"' .. ("x"):rep(500) .. '"}')
    assert(client:flush(60))
    local widths = drive([[
      const widths = [];
      await page.window(360, 740, true);
      await page.says("$name");
      widths.push(await page.evaluate("document.documentElement.scrollWidth"));
      await page.open("/#/topic/$name");
      await page.says("1 record");
      await page.evaluate("document.querySelector('.row').click(); document.querySelector('details').open = true");
      await page.until("document.querySelector('.whole pre')");
      await page.says("cleanup.policy");
      widths.push(await page.evaluate("document.documentElement.scrollWidth"));
      widths.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
      return widths;
    ]], { name = name })
    assert.same({ 360, 360 }, { widths[1], widths[2] })
    assert.equal("rgb(20, 23, 27)", widths[3])
  end)

  it("shows records live, says when the broker is away, and goes on when it is back", function()
    local name, topic = new_topic()
    topic:send("k", "before")
    assert(client:flush(60))
    local dir = servers.directory()
    local file = process.write(dir .. "/live", ([[
      await page.open("/#/topic/$name?from=live");
      await page.says("Live: waiting for records");
      console.error("listening");
      await page.says("first of them");
      console.error("received");
      await page.says("Kafka does not answer since");
      console.error("away");
      await page.until("document.getElementById('problem').hidden");
      console.error("back");
      await page.says("last of them");
      return await page.evaluate("document.querySelectorAll('.row').length");
    ]]):gsub("%$name", name))
    local one = process.start({ dir .. "/profile", address }, nil,
      { command = "node tests/spec/support/browser.mjs", input = file })
    one:says "listening"
    topic:send("k", "first of them")
    one:says "received"
    broker:pause()
    one:says "away"
    broker:resume()
    one:says "back"
    topic:send("k", "last of them")
    assert(client:flush(60))
    assert.equal(0, one:wait(), one:stdout())
    assert.equal("2\n", one:stdout())
  end)
end)

describe("dbobs ui", function()
  it("says what is wrong with its options, and who has its port", function()
    local code, _, stderr = process.run { "ui", "--address", "nonsense" }
    assert.equal(2, code)
    assert.matches("option %-%-address: 'nonsense' is no address", stderr)
    local one = process.start { "ui", "--address", "127.0.0.1:0", "--brokers", "127.0.0.1:1" }
    local place = one:says("http://(%S+)/\n", "out")
    code, _, stderr = process.run { "ui", "--address", place, "--brokers", "127.0.0.1:1" }
    assert.equal(1, code)
    assert.matches("cannot listen on " .. place, stderr, 1, true)
    assert.matches("dbobs, process " .. one.pid, stderr, 1, true)
    local text = browser.run("http://" .. place .. "/", [[
      await page.says("Kafka does not answer since");
      return await page.text();
    ]])
    assert.matches("Topics %(0%)\n+Not known yet", text)
    one:signal "TERM"
    assert.equal(0, one:wait())
  end)

  it("answers only to the names that it has", function()
    local one = process.start { "ui", "--address=127.0.0.1:0", "--brokers=127.0.0.1:1", "--host=kafka-ui,mine" }
    local port = one:says("http://127.0.0.1:(%d+)/\n", "out")
    for name, status in pairs { ["mine:80"] = 200, ["kafka-ui"] = 200, ["localhost:" .. port] = 200, evil = 403 } do
      local head = ("GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n"):format(name)
      local text = servers.shell(([[bash -c "exec 3<>/dev/tcp/127.0.0.1/%s; printf '%s' >&3; cat <&3"]])
        :format(port, head))
      assert.equal(status, tonumber(text:match "^HTTP/1%.1 (%d+)"), name)
    end
    one:signal "TERM"
    assert.equal(0, one:wait())
  end)
end)
