local cjson = require "cjson"
local kafka = require "dbobs.kafka"
local new_broker = require "dbobs.core.kafka_broker"
local process = require "support.process"

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = cjson.decode(line) end
  return lines
end

-- The texts of records, sorted.
local function texts_of(stdout)
  local texts = {}
  for i, line in ipairs(lines_of(stdout)) do texts[i] = line.value.text end
  table.sort(texts)
  return table.concat(texts, " ")
end

describe("dbobs consume", function()
  local broker, producer

  setup(function()
    broker = assert(new_broker())
    producer = kafka.producer { ["bootstrap.servers"] = broker:address() }
    assert(producer:create_topic("t", { partitions = 1 }))
    local topic = producer:topic "t"
    for i, key in ipairs { "db1:app", "db1:shop", "db2:app", "db.:app" } do
      assert(topic:send(key, ('{"text":"Event%d","n":%d}'):format(i, i)))
    end
    assert(producer:flush())
  end)

  teardown(function()
    producer:close()
    broker:close()
  end)

  local function run(...)
    return process.run { "consume", "t", "--brokers", broker:address(), ... }
  end

  it("shows the records of a key, of keys that look alike, with a text, up to a time", function()
    for words, expected in pairs {
      ["--key db1:app"] = "Event1",
      ["--key db1:*"] = "Event1 Event2",
      ["--key db?:app"] = "Event1 Event3 Event4",
      ["--key db.:app"] = "Event4",
      ["--key db1"] = "",
      ["--text eVENT2"] = "Event2",
      ["--text shop"] = "Event2",
      ["--text %d"] = "",
      ["--key db1:* --text event2"] = "Event2",
      ["--until 1h"] = "",
      ["--until 2999-01-01"] = "Event1 Event2 Event3 Event4",
    } do
      local split = { "--json" }
      for word in words:gmatch "%S+" do split[#split + 1] = word end
      local code, stdout, stderr = run(unpack(split))
      assert.equal(0, code, stderr)
      assert.equal(expected, texts_of(stdout), words)
    end
  end)

  it("counts records, bytes, keys and rates", function()
    local code, stdout, stderr = run("--stats", "--json")
    assert.equal(0, code, stderr)
    local found = lines_of(stdout)[1]
    assert.equal("t 4 4 31", ("%s %d %d %d"):format(found.topic, found.records, found.keys, found.largest))
    assert.matches("^%d+%-%d+%-%d+T%d+:%d+:%d+Z$", found.first)
    code, stdout = run("--stats", "--key", "db1:*")
    assert.equal(0, code)
    assert.matches("^topic%s+records%s+records/s%s+size%s+size/s%s+largest%s+keys%s+first%s+last\nt%s+2 ", stdout)
  end)

  it("tells rates again and again while it follows", function()
    local one = process.start { "consume", "t", "--brokers", broker:address(), "--stats", "--follow", "--json",
      "--every", "100ms" }
    process.until_true(function() return one:stdout():find('"records":4', 1, true) end, "what is there")
    assert(producer:topic("t"):send("more", '{"text":"more"}'))
    process.until_true(function() return one:stdout():find('"records":5', 1, true) end, "what comes")
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    local rates = {}
    for _, line in ipairs(lines_of(one:stdout())) do rates[line.records_per_second > 0] = true end
    assert.same({ [true] = true, [false] = true }, rates)
  end)

  it("refuses what makes no sense", function()
    for words, pattern in pairs {
      ["--until end"] = "option %-%-until: a time",
      ["--until 10m --follow"] = "option %-%-until: what is followed has no end",
      ["--every 1s"] = "option %-%-every: it goes with %-%-stats",
      ["--stat"] = "unknown option %-%-stat; did you mean '%-%-stats'",
    } do
      local split = {}
      for word in words:gmatch "%S+" do split[#split + 1] = word end
      local code, _, stderr = run(unpack(split))
      assert.equal(2, code, words)
      assert.matches(pattern, stderr)
    end
  end)
end)
