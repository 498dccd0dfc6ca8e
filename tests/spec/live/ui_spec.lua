local cjson = require "cjson"
local decode = require "dbobs.core.decode"
local kafka = require "dbobs.kafka"
local monitor = require "dbobs.ui.monitor"
local new_broker = require "dbobs.core.kafka_broker"
local newest = require "dbobs.ui.newest"
local rows = require "dbobs.ui.rows"
local servers = require "support.servers"
local site = require "dbobs.ui.site"
local support = require "support.kafka"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local FETCH, TOPIC_AUTHORIZATION_FAILED = 1, 29

describe("the topic monitor", function()
  local broker, client, watch, pages

  setup(function()
    broker = servers.kafka()
    client = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["linger.ms"] = 0,
      ["message.max.bytes"] = 4000000 }
    watch = monitor.new { ["bootstrap.servers"] = broker.bootstrap }
    pages = site.new(watch)
  end)

  teardown(function()
    watch:close()
    client:close()
  end)

  local function ask(path, query)
    local answer = pages:answer { method = "GET", path = path, query = query or {} }
    return answer, answer.headers["content-type"] == "application/json" and cjson.decode(answer.body) or nil
  end

  local function records(query)
    local answer, page = ask("/api/records", query)
    assert.equal(200, answer.status, page.error)
    return page, page.rows[1] and page.rows or {}
  end

  local function new_topic(partitions, config)
    local name = support.name "ui"
    assert(client:create_topic(name, { partitions = partitions or 1, config = config }))
    return name, client:topic(name)
  end

  -- One after the other, so that their times tell the order.
  local function send_slowly(topic, count)
    for i = 1, count do
      topic:send("key" .. i, ('{"n":%d}'):format(i))
      assert(client:flush(60))
      timer.sleep "2ms"
    end
  end

  local function numbers(list)
    local found = {}
    for i, row in ipairs(list) do found[i] = tonumber(row.text:match '"n":(%d+)') end
    return found
  end

  -- All pages of a question, with the text that leads from one to the next.
  local function all_pages(query)
    local all, place = {}, nil
    for _ = 1, 100 do
      query.go_on = place
      local page, list = records(query)
      for _, row in ipairs(list) do all[#all + 1] = row end
      place = page.go_on
      if not place or page.more == false then return all end
    end
    error "there is no end of pages"
  end

  local function overview_of(name)
    assert(watch:refresh())
    for _, topic in ipairs(watch:overview().topics) do
      if topic.name == name then return topic end
    end
  end

  it("tells brokers, and of topics partitions, counts, rates, retention and sizes that are estimated", function()
    local name, topic = new_topic(3, { ["retention.ms"] = "604800000" })
    for i = 1, 90 do topic:send("k" .. i, ("x"):rep(98)) end
    assert(client:flush(60))
    local known = overview_of(name)
    assert.same({ 3, 90, 1, 0, 0 }, { known.partitions, known.records, known.replication, known.behind,
      known.leaderless })
    local running = task.spawn(watch.run, watch)
    known = support.until_true("size, rate and retention", function()
      for _, one in ipairs(watch:overview().topics) do
        if one.name == name and one.bytes and one.rate and one.retention_ms then return one end
      end
    end)
    task.cancel(running)
    assert.equal(604800000, known.retention_ms)
    assert.equal("delete", known.cleanup)
    -- Keys have 2 or 3 bytes.
    assert.is_true(known.record_bytes >= 100 and known.record_bytes <= 101)
    assert.equal(90 * known.record_bytes, known.bytes)
    assert.is_true(known.sampled > 0)
    for i = 1, 50 do topic:send("k" .. i, "x") end
    assert(client:flush(60))
    assert.is_true(overview_of(name).rate > 0)
    local brokers = watch:overview().brokers
    assert.same({ 1, broker.bootstrap }, { #brokers, brokers[1].host .. ":" .. brokers[1].port })
  end)

  it("tells consumer groups, who is in them, and how far they are behind", function()
    local name, topic = new_topic(2)
    for _ = 1, 20 do topic:send("k", "x") end
    assert(client:flush(60))
    local group = support.name "group"
    local consumer = kafka.consumer { ["bootstrap.servers"] = broker.bootstrap, topics = { name }, group = group,
      ["enable.auto.commit"] = "false" }
    for _ = 1, 20 do assert(consumer:poll()) end
    consumer:commit()
    for _ = 1, 5 do topic:send("k", "x") end
    assert(client:flush(60))
    local found = support.until_true("the group's lag", function()
      watch:refresh()
      for _, one in ipairs(watch:overview().groups) do
        if one.name == group and one.lag == 5 then return one end
      end
    end)
    assert.same({ "Stable", 1, "dbobs", 2 }, { found.state, #found.members, found.members[1].client,
      found.members[1].partitions })
    assert.same({ name, 5, 1 }, { found.topics[1].name, found.topics[1].lag, found.topics[1].uncommitted })
    local _, told = ask("/api/topic", { topic = name })
    assert.same({ name = group, state = "Stable", lag = 5 }, told.groups[1])
    assert.equal(25, told.partitions[1].high + told.partitions[2].high)
    assert.equal("delete", told.config["cleanup.policy"])
    consumer:close()
  end)

  it("shows records over all partitions newest first, page by page, none left out and none twice", function()
    local name, topic = new_topic(3)
    send_slowly(topic, 60)
    local expected = {}
    for i = 1, 60 do expected[i] = 61 - i end
    assert.same(expected, numbers(all_pages { topic = name, limit = "7" }))
    local page, list = records { topic = name }
    assert.equal(50, #list)
    assert.is_truthy(page.go_on)
    assert.equal("key60", list[1].key)
    assert.equal("json", list[1].kind)
    local _, rest = records { topic = name, go_on = page.go_on }
    assert.equal(10, #rest)
  end)

  it("shows records from the beginning, an offset, a time, and of one partition", function()
    local name, topic = new_topic(2)
    send_slowly(topic, 30)
    local found = numbers(all_pages { topic = name, from = "beginning", limit = "7" })
    table.sort(found)
    assert.equal(30, #found)
    assert.same({ 1, 30 }, { found[1], found[30] })
    local all = all_pages { topic = name }
    local tenth = all[21]
    local time = os.date("!%Y-%m-%dT%H:%M:%S", tenth.time / 1000) .. (".%03dZ"):format(tenth.time % 1000)
    local _, list = records { topic = name, from = time }
    found = numbers(list)
    assert.equal(10, found[1])
    assert.equal(21, #found)
    _, list = records { topic = name, from = "1h" }
    assert.equal(30, #list)
    local last = all[1]
    _, list = records { topic = name, from = "-3", partition = tostring(last.partition) }
    assert.same({ last.partition, last.offset - 2, last.partition, last.offset },
      { list[1].partition, list[1].offset, list[3].partition, list[3].offset })
    _, list = records { topic = name, from = "2", partition = "1", limit = "1" }
    assert.same({ 1, 2 }, { list[1].partition, list[1].offset })
    local page = records { topic = name, from = "end" }
    assert.is_false(page.more)
  end)

  it("finds records by key and text, the text of JSON as people write it", function()
    local name, topic = new_topic(2)
    for i = 1, 200 do topic:send("host" .. i, cjson.encode { query = ('say "%d" / é'):format(i) }) end
    topic:send("host7", "plain 7")
    assert(client:flush(60))
    local page, list = records { topic = name, text = 'say "77" / é' }
    assert.same({ 1, 201 }, { #list, page.looked_at })
    assert.equal(12, #select(2, records { topic = name, key = "host7" }))
    list = select(2, records { topic = name, key = "host7", text = "plain", from = "beginning" })
    assert.equal("plain 7", list[1].text)
    page, list = records { topic = name, text = "not there" }
    assert.same({ 0, 201 }, { #list, page.looked_at })
    assert.is_nil(page.go_on)
  end)

  it("stops a long search and goes on where it was", function()
    local name, topic = new_topic(2)
    for i = 1, 20000 do topic:send("k" .. i, ('{"n":%d}'):format(i)) end
    assert(client:flush(60))
    local described, bounds = watch:topic(name)
    local before, size, pieces, found = {}, nil, 0, {}
    repeat
      local search = { properties = watch.properties, topic = described.name, bounds = bounds, before = before,
        size = size, limit = 10, row = rows.row, until_time = sys.monotonic() + 60 }
      local left = 3000
      function search.match(message)
        left = left - 1
        -- The time is over, in the midst of a window.
        if left == 0 then search.until_time, search.budget.until_time = 0, 0 end
        return message.value == '{"n":17}' or message.value == '{"n":19999}'
      end
      local page = assert(newest.page(search))
      for _, row in ipairs(page.rows) do found[#found + 1] = row end
      before, size, pieces = page.before, page.size, pieces + 1
    until not before
    assert.same({ 19999, 17 }, numbers(found))
    assert.is_true(pieces > 5)
  end)

  it("takes any bytes: what it answers is always JSON, and tells what is no text", function()
    local name, topic = new_topic(1, { ["max.message.bytes"] = "4000000" })
    local sent = {
      { "a", "<script>alert(1)</script>", "text" },
      { "\255\254", "caf\233", "binary" },
      { "b", ("\0\1\255"):rep(2000), "binary" },
      { "c", '{"big":9007199254740993123,"bad":"\255"}', "binary" },
      { "d", '{"big":9007199254740993123}', "json" },
      { "e", "", "text" },
      { "f", '{"text":"' .. ("x"):rep(1000000) .. '"}', "json" },
    }
    for _, one in ipairs(sent) do topic:send(one[1], one[2], { ["h\255"] = "v\255" }) end
    assert(client:flush(60))
    local answer = ask("/api/records", { topic = name, from = "beginning" })
    assert.is_true(#answer.body < 10000)
    assert.equal("json", select(2, decode.saying(answer.body))) -- which bytes that are no UTF-8 are not
    local list = cjson.decode(answer.body).rows
    for i, one in ipairs(sent) do
      assert.equal(one[3], list[i].kind)
      local whole, record = ask("/api/record", { topic = name, partition = "0", offset = tostring(i - 1) })
      assert.equal("json", select(2, decode.saying(whole.body)))
      if one[3] ~= "binary" then assert.equal(one[2], record.value) end
      assert.equal(one[3] == "binary", type(record.hex) == "string")
      assert.equal(one[2], ask("/api/value", { topic = name, partition = "0", offset = tostring(i - 1) }).body)
    end
    assert.equal("63 61 66 e9", select(2, ask("/api/record", { topic = name, partition = "0", offset = "1" })).hex
      :match "00000000  (.-) +caf%.")
    assert.matches("^00 01 ff 00", list[3].text)
  end)

  it("says what is wrong with a question, and creates no topic by asking", function()
    local function refused(status, pattern, path, query)
      local answer, problem = ask(path, query)
      assert.equal(status, answer.status)
      assert.matches(pattern, problem.error)
    end
    local name, topic = new_topic()
    topic:send("a", "x")
    assert(client:flush(60))
    local missing = support.name "missing"
    refused(404, "there is no topic '" .. missing:gsub("%-", "%%-") .. "'", "/api/records", { topic = missing })
    refused(404, "there is no topic", "/api/topic", { topic = missing })
    refused(400, "which topic", "/api/records", {})
    refused(404, "no partition '7'", "/api/records", { topic = name, partition = "7" })
    refused(400, "'yesterday'", "/api/records", { topic = name, from = "yesterday" })
    refused(400, "go_on", "/api/records", { topic = name, go_on = "{nonsense" })
    refused(400, "which partition", "/api/record", { topic = name, offset = "x" })
    refused(404, "it has 0 to 0", "/api/record", { topic = name, partition = "0", offset = "5" })
    refused(404, "nothing here", "/../secret", {})
    refused(404, "nothing here", "/site.lua", {})
    for _, one in ipairs(assert(client:topics())) do assert.is_not.equal(missing, one.name) end
  end)

  it("shows records as they come, and goes on where a connection was lost", function()
    local name, topic = new_topic(2)
    topic:send("a", "before")
    assert(client:flush(60))
    -- Listens until `count` records came that have the text; returns their texts and the place behind them.
    local function listen(query, count)
      local texts, place = {}, nil
      query.topic = name
      local stream = pages:answer({ method = "GET", path = "/api/live", query = query }).stream
      stream(function(event)
        place = event:match "id: ([^\n]+)" or place
        if event:match "^event: begin" and not query.go_on then
          for i = 1, 10 do topic:send("k" .. i, "live " .. i) end
          topic:send("other", "something else")
        end
        if event:match "^event: rows" then
          for _, row in ipairs(cjson.decode(event:match "data: ([^\n]+)").rows) do texts[#texts + 1] = row.text end
        end
        return #texts < count
      end)
      table.sort(texts)
      return texts, place
    end
    local texts, place = listen({ text = "live" }, 10)
    assert.same({ "live 1", "live 10", "live 2" }, { texts[1], texts[2], texts[3] })
    assert.equal(10, #texts)
    topic:send("x", "meanwhile")
    assert(client:flush(60))
    assert.same({ "meanwhile" }, (listen({ go_on = place, text = "while" }, 1)))
    assert.equal(0, pages.listeners)
    local told
    pages:answer({ method = "GET", path = "/api/live", query = { topic = "no-such" } }).stream(function(event)
      told = event
      return true
    end)
    assert.matches("^event: refused\ndata: .*there is no topic", told)
  end)

  it("keeps what it knew while the broker is away, says so, and is back when the broker is", function()
    local name = new_topic()
    assert.is_truthy(overview_of(name))
    broker:pause()
    local answer, problem
    local asking = task.spawn(function() answer, problem = ask("/api/records", { topic = name }) end)
    assert.is_falsy(watch:refresh())
    local known = watch:overview()
    task.join(asking)
    broker:resume()
    assert.matches("no broker", known.problem)
    assert.is_true(known.problem_since <= known.now and known.time < known.problem_since)
    assert.is_true(#known.topics > 0)
    assert.equal(502, answer.status)
    assert.matches("no broker", problem.error)
    support.until_true("the broker to be back", function() return watch:refresh() end)
    assert.is_nil(watch:overview().problem)
    assert.same({}, select(2, records { topic = name }))
  end)

  it("shows what the embedded broker can tell, and why records are not to be had", function()
    local mock = assert(new_broker())
    local name = support.name "embedded"
    assert(mock:topic(name, 1))
    local embedded = { ["bootstrap.servers"] = mock:address() }
    local producer = kafka.producer(embedded)
    for i = 1, 5 do producer:topic(name):send("k", ('{"n":%d}'):format(i)) end
    assert(producer:flush(60))
    local other = monitor.new(embedded)
    assert(other:refresh(), other.problem)
    local known = other:overview()
    assert.matches("the embedded broker cannot do that", known.groups_problem)
    local answer = site.new(other):answer { path = "/api/records", query = { topic = name } }
    assert.same({ 5, 4, 3, 2, 1 }, numbers(cjson.decode(answer.body).rows))
    for _ = 1, 20 do mock:fail(FETCH, TOPIC_AUTHORIZATION_FAILED) end
    for _, from in ipairs { "newest", "beginning" } do
      answer = site.new(other):answer { path = "/api/records", query = { topic = name, from = from } }
      assert.equal(502, answer.status)
      assert.matches("not allowed: give the Kafka user the ACL Read", answer.body)
    end
    other:close()
    producer:close()
    mock:close()
  end)
end)
