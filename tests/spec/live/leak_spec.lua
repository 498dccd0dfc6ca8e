local dbobs = require "dbobs"
local process = require "support.process"
local servers = require "support.servers"

-- Resident memory of this process in bytes.
local function resident()
  collectgarbage()
  collectgarbage()
  return tonumber(process.read("/proc/self/statm"):match "^%d+ (%d+)") * 4096
end

-- What a repeat may add: the allocator's own slack, far less than a byte a round would be.
local SLACK = (process.dbobs:find "/sanitize/" and 12 or 3) * 2 ^ 20

-- Runs fn often enough for every cache to be full, then `count` times; the memory must not have grown.
local function does_not_grow(count, fn)
  for _ = 1, count do fn() end
  local before = resident()
  for _ = 1, count do fn() end
  local grown = resident() - before
  assert.is_true(grown < SLACK, ("%d rounds left %d bytes more"):format(count, grown))
end

describe("memory under a repeat of 10,000", function()
  local pg = servers.postgres()

  it("tasks, waits and deadlines", function()
    does_not_grow(10000, function()
      dbobs.deadline("1h", function() dbobs.join(dbobs.spawn(function() dbobs.sleep(0) end)) end)
      pcall(dbobs.deadline, 0, dbobs.sleep, 1)
    end)
  end)

  it("queries, failing ones, prepared ones and pipelines", function()
    local db = assert(dbobs.postgres.connect(pg:parameters()))
    assert(db:prepare("leak", "select $1::int8 as n"))
    does_not_grow(10000, function()
      assert(db:query("select $1::text as t, now() as ts, 1.5::numeric as n", "x"))
      db:query "select 1 / 0"
      assert(db:execute("leak", 7))
    end)
    does_not_grow(2000, function() assert(db:pipeline { { "select 1" }, { "select $1::int", 2 } }) end)
    db:close()
  end)

  it("connections, also refused and abandoned ones", function()
    local rounds = 0
    does_not_grow(500, function()
      rounds = rounds + 1
      -- The collector does not know that a connection is more than the few bytes of its handle.
      if rounds % 50 == 0 then collectgarbage() end
      local db = assert(dbobs.postgres.connect(pg:parameters()))
      db:close()
      assert.is_nil((dbobs.postgres.connect(pg:parameters { password = "wrong" })))
      assert(dbobs.postgres.connect(pg:parameters()))  -- left to the garbage collector
    end)
  end)

  it("records sent and acknowledged", function()
    local kafka = dbobs.kafka { ["bootstrap.servers"] = servers.kafka().bootstrap }
    local topic = kafka:topic "leak"
    local value = ("v"):rep(500)
    -- In batches: how full librdkafka's queue gets differs from run to run, and so would the memory.
    does_not_grow(50, function()
      local batch = dbobs.batch()
      for _ = 1, 400 do assert(dbobs.send(topic, "key", value, batch)) end
      assert(dbobs.wait_delivered(batch))
    end)
    kafka:close()
  end)

  it("rows to records and to metrics", function()
    local sink = require "dbobs.sink"
    local collect = function(name)
      local run = require("dbobs.run").new({
        collector = { name = name }, options = {}, state = {},
        target = assert(require("dbobs.target").new(pg:target())),
      }, sink.discard(), sink.batch())
      local collector = require("collectors." .. name)
      run.options = collector.options or {}
      return function()
        run.batch = sink.batch()
        local ok, cause = collector.collect(run)
        assert(ok ~= nil or cause == nil, cause)
      end, run.target
    end
    for _, name in ipairs { "metrics", "queries", "logs" } do
      local round, target = collect(name)
      does_not_grow(300, round)
      require("dbobs.pool").close(target)
    end
  end)
end)
