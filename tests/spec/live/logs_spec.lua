-- pipelines/collectors/logs.lua, src/pglog*.c and src/tail*.c with the log of a real server.
local cjson = require "cjson"
local collector = require "support.collector"
local kafka = require "dbobs.kafka"
local lfs = require "lfs"
local logs = require "collectors.logs"
local memory = require "dbobs.core.memory"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local schema = require "support.schema"
local servers = require "support.servers"
local support = require "support.kafka"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

local function lines_of(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end

local function file_line(texts) return table.concat(texts, "\n") .. "\n" end

-- Makes events of every kind in the server's log.
local function make_events(server)
  local function connect(more) return assert(postgres.connect(server:parameters(more or { dbname = "app" }))) end
  local a, b = connect(), connect()

  assert.is_nil(a:query "select 1/0")
  assert.is_nil(postgres.connect(server:parameters { password = "wrong" }))
  assert(a:query "set log_min_duration_statement = 0")
  assert(a:query "select 'slow' as enough")
  assert(a:query "set log_min_duration_statement = -1")

  assert(a:query "set work_mem = '64kB'")
  assert(a:query "select count(*) from (select g from generate_series(1, 50000) g order by g desc offset 1) s")

  assert(a:query "load 'auto_explain'")
  assert(a:query "set auto_explain.log_min_duration = 0")
  for _, format in ipairs { "json", "text", "xml", "yaml" } do
    assert(a:query("set auto_explain.log_format = " .. format))
    assert(a:query(("select count(*) as %s from users"):format(format)))
  end
  assert(a:query "set auto_explain.log_min_duration = -1")

  assert(a:query "begin" and b:query "begin")
  assert(a:query "update users set name = 'a' where id = 1")
  assert(b:query "update users set name = 'b' where id = 2")
  local other = task.spawn(function() return a:query "update users set name = 'a' where id = 2" end)
  local mine = b:query "update users set name = 'b' where id = 1"
  local _, theirs = task.join(other)
  assert.is_true((mine == nil) ~= (theirs == nil))
  a:close()
  b:close()

  server:psql "checkpoint"
  server:psql("create table if not exists dead as select g from generate_series(1, 1000) g", "app")
  server:psql("delete from dead", "app")
end

-- A server that writes of everything that it can.
local function talkative(major)
  return servers.postgres { name = "logs", major = major,
    "--set", "log_timezone=Europe/Berlin", "--set", "log_temp_files=0",
      "--set", "log_autovacuum_min_duration=0", "--set", "autovacuum_naptime=1", "--set", "deadlock_timeout=50ms" }
end

describe("the log of a server", function()
  local server, out, directory, objects

  setup(function() server = talkative() end)

  before_each(function()
    out, directory, objects = memory(), servers.directory(), {}
  end)

  after_each(function()
    for _, object in ipairs(objects) do object:close() end
  end)

  local function follow(path)
    objects[#objects + 1] = assert(tail.server_log {
      path = path or server.log, checkpoint = directory .. "/position.json", timezone = "Europe/Berlin", poll = "50ms",
        grace = "200ms",
      envelope = { host = "h", port = 1, database = "postgres", environment = "test" }, to = out,
    })
    return objects[#objects]
  end

  -- Sends until done(records) says so; returns all records.
  local function collect(object, done, what)
    local seen = {}
    local _, late = task.deadline("40s", function()
      while not done(seen) do
        local outcome = assert(object:turn())
        for _, one in ipairs(collector.records(out)) do seen[#seen + 1] = one end
        if outcome == "wait" and not done(seen) then task.wait(object.follower.core, 0.2) end
      end
      return true
    end)
    assert(not late, "waited in vain for " .. what)
    return seen
  end

  local function types_of(records)
    local types = {}
    for _, one in ipairs(records) do
      local kind = one.payload.event_type
      types[kind] = types[kind] or {}
      table.insert(types[kind], one)
    end
    return types
  end

  local function every_kind(of)
    make_events(of)
    local wanted = { "query_error", "authentication_failure", "connection", "deadlock", "checkpoint", "vacuum",
      "lock_wait",
      "temp_file", "slow_query", "plan", "log" }
    local types = types_of(collector.keep(collect(follow(of.log), function(seen)
      local types = types_of(seen)
      for _, kind in ipairs(wanted) do
        if not types[kind] then return false end
      end
      return #types.plan >= 4
    end, "events of every kind")))

    local one = types.query_error[1]
    assert.same({ "22012", "division by zero", "select 1/0" },
      { one.payload.error_code, one.payload.error_message, one.payload.query })
    assert.same({ "app", "h:app", "error" }, { one.database, one.key, one.tags.log_level })
    local instant = of:psql((
      [[select to_char(timestamp '%s' at time zone 'Europe/Berlin' at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')]])
      :format(one.payload.record.timestamp:sub(1, 23)))
    assert.equal(instant, one.timestamp)

    one = types.authentication_failure[1]
    assert.same({ "28P01", "postgres", "127.0.0.1", "critical" },
      { one.payload.error_code, one.payload.user, one.payload.client_addr, one.tags.log_level })
    one = types.deadlock[1]
    assert.same({ "deadlock detected", "error" }, { one.payload.error_message, one.tags.log_level })
    assert.matches("^update users set name", one.payload.query)
    assert.matches("^Process %d+ waits for", one.payload.detail)
    assert.is_true(types.temp_file[1].payload.size_bytes > 0)
    assert.is_true(types.lock_wait[1].payload.duration_ms >= 50)
    assert.is_true(types.slow_query[1].payload.duration_ms > 0)
    local complete, vacuumed, formats, actions = {}, {}, {}, {}
    for _, event in ipairs(types.checkpoint) do complete[event.payload.total_ms and "complete"
      or "starting"] = event.payload end
    assert.is_number(complete.complete.buffers_written)
    assert.is_number(complete.complete.distance_bytes)
    for _, event in ipairs(types.vacuum) do vacuumed[event.payload.action] = event.payload end
    local vacuum = vacuumed.vacuum or vacuumed.analyze
    assert.is_number(vacuum.elapsed_ms)
    assert.is_number(vacuum.buffers_hit)
    assert.matches("^%w+%.[%w_]+%.[%w_]+$", vacuum.table)
    for _, event in ipairs(types.plan) do formats[event.payload.format] = event.payload end
    assert.equal("Aggregate", formats.json.plan.Plan["Node Type"])
    assert.matches("^<explain", formats.xml.plan)
    assert.matches("Node Type: \"Aggregate\"", formats.yaml.plan, 1, true)
    assert.matches("Aggregate  (cost=", formats.text.plan, 1, true)
    for _, event in ipairs(types.connection) do actions[event.payload.action] = event.payload end
    assert.is_truthy(actions.received and actions.authenticated and actions.authorized)
    assert.is_number(actions.closed.duration_ms)
  end

  it("is told in events of every kind", function() every_kind(server) end)

  it("is told so by version 18, too", function()
    local newest = talkative(18)
    every_kind(newest)
    servers.drop(newest)
  end)

  it("comes line by line, once, unchanged, whatever befalls the file", function()
    local object = follow()
    local total = 0
    local function burst(name)
      local db = assert(postgres.connect(server:parameters { dbname = "app" }))
      for i = 1, 200 do
        assert(db:query(("do $$ begin raise log 'burst %s %d'; end $$"):format(name, i)))
      end
      db:close()
      total = total + 200
    end
    local function bursts(seen)
      local count = 0
      for _, one in ipairs(seen) do
        if (one.payload.record.message or ""):find "^burst" then count = count + 1 end
      end
      return count
    end

    burst "first"
    local seen = collect(object, function(records) return bursts(records) >= total end, "the first burst")
    os.rename(server.log, server.log .. ".1")
    burst "renamed"
    server:psql "select pg_rotate_logfile()"
    process.until_true(function() return lfs.attributes(server.log) end, "a new log file")
    burst "rotated"
    local first = seen
    seen = collect(object, function(records) return bursts(records) >= total - 200 end, "the bursts around a rename")
    for i, one in ipairs(seen) do first[#first + i - i + 1] = one end
    object:flush()
    object:close()

    burst "away"
    os.rename(server.log, server.log .. ".2")
    server:psql "select pg_rotate_logfile()"
    process.until_true(function() return lfs.attributes(server.log) end, "a new log file")
    burst "back"
    object = follow()
    seen = collect(object, function(records) return bursts(records) >= 400 end, "the bursts while nobody read")
    for _, one in ipairs(seen) do first[#first + 1] = one end

    servers.shell(("cp %s %s.3 && : > %s"):format(server.log, server.log, server.log))
    burst "truncated"
    seen = collect(object, function(records) return bursts(records) >= 200 end, "the burst after copytruncate")
    for _, one in ipairs(seen) do first[#first + 1] = one end

    local written, sent = {}, {}
    for _, suffix in ipairs { ".1", ".2", ".3", "" } do
      for _, line in ipairs(lines_of(server.log .. suffix)) do
        local object_of_line = cjson.decode(line)
        written[("%s/%d"):format(object_of_line.session_id, object_of_line.line_num)] = line
      end
    end
    for _, one in ipairs(first) do
      local uid = one.payload.uid
      assert.is_nil(sent[uid], "twice: " .. uid)
      sent[uid] = true
      assert(written[uid], "not written: " .. uid)
      assert.truthy(one.text:find('"record":' .. written[uid] .. "}}", 1, true))
    end
    assert.equal(total, bursts(first))
  end)

  it("may hold bytes that are no UTF-8", function()
    server:psql "drop database if exists ascii"
    server:psql "create database ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    local db = assert(postgres.connect(server:parameters { dbname = "ascii" }))
    assert(db:query "set client_encoding to sql_ascii")
    assert.is_nil(db:query "select 1/0 as \"caf\233 \255\"")
    db:close()
    local found
    collect(follow(), function(seen)
      for _, one in ipairs(seen) do
        if one.database == "ascii" and one.payload.event_type == "query_error" then found = one end
      end
      return found
    end, "the error of the SQL_ASCII database")
    assert.equal('select 1/0 as "caf\239\191\189 \239\191\189"', found.payload.query)
    assert.equal(found.payload.query, found.payload.record.statement)
  end)

  it("is followed by the collector, in the server's own time zone, until it is cancelled", function()
    local current = collector.run(logs, server:target { log_file = server.log })
    function current:checkpoint() return directory .. "/collector.json" end -- luacheck: ignore 212
    local follower = task.spawn(logs.follow, current)
    local seen = {}
    local _, late = task.deadline("20s", function()
      while #seen < 10 do
        for _, one in ipairs(collector.records(current.out)) do seen[#seen + 1] = one end
        task.wait(nil, 0.02)
      end
      return true
    end)
    assert.is_nil(late)
    assert.equal("running", task.status(follower))
    current.out:take()
    task.cancel(follower)
    task.join(follower)
    pool.close(current.target)
    assert.equal(server.host, seen[1].host)
    local ahead = cjson.decode(lines_of(server.log .. ".1")[1]).timestamp
    assert.matches(" CES?T$", ahead)
    local local_hour, hour = tonumber(seen[1].payload.record.timestamp:sub(12, 13)),
      tonumber(seen[1].timestamp:sub(12, 13))
    assert.is_true((local_hour - hour) % 24 == (seen[1].payload.record.timestamp:find "CEST" and 2 or 1))
  end)

  it("is followed as far as the collector's options let it, and as its function makes it", function()
    local seen, ended = {}, nil
    local current = collector.run(logs, server:target { log_file = server.log }, {
      event_types = { connection = false }, log_databases = { "app" }, event = function(event)
        if event.payload.event_type == "slow_query" then return false end
        event.tags.team = "billing"
      end,
    })
    function current:checkpoint() return directory .. "/filtered.json" end -- luacheck: ignore 212
    local follower = task.spawn(logs.follow, current)
    local db = assert(postgres.connect(server:parameters { dbname = "app" }))
    assert(db:query "set log_min_duration_statement = 0")
    db:query "select 'slow' as enough"
    db:query "do $$ begin raise log 'the end of it'; end $$"
    db:close()
    process.until_true(function()
      for _, one in ipairs(collector.records(current.out)) do
        seen[#seen + 1] = one
        ended = ended or tostring(one.payload.record.message):find "the end of it"
      end
      return ended
    end, "the last event")
    current.out:take()
    task.cancel(follower)
    task.join(follower)
    pool.close(current.target)
    for _, one in ipairs(seen) do
      assert.equal("billing", one.tags.team)
      assert.is_nil(({ connection = true, slow_query = true })[one.payload.event_type])
      assert.is_true(one.payload.record.dbname == nil or one.payload.record.dbname == "app")
    end
  end)

  it("is described by check", function()
    local current = collector.run(logs, server:target { log_file = server.log })
    assert.matches("postgresql%.json: [%d.]+ [kM]?B behind %(.*%), 1 file, read from the beginning at the first start",
      logs.check(current))
    current = collector.run(logs, server:target { log_file = directory })
    local text, cause = logs.check(current)
    assert.is_nil(text)
    assert.matches("no file matches", cause, 1, true)
    assert.matches("no log_file", logs.check(collector.run(logs, server:target())), 1, true)
    current = collector.run(logs, server:target())
    assert.is_true(logs.follow(current))
  end)
end)

describe("a server log to Kafka", function()
  it("waits while Kafka is away, with the rotated file open, and arrives whole and in order", function()
    local broker, directory = servers.kafka(), servers.directory()
    local path, name = directory .. "/a.json", support.name "logs"
    local producer = kafka.producer { ["bootstrap.servers"] = broker.bootstrap, ["linger.ms"] = 5 }
    assert(producer:create_topic(name, { partitions = 1 }))
    local object = assert(tail.server_log {
      path = path, checkpoint = directory .. "/position.json", poll = "50ms", grace = "200ms", timezone = "UTC",
      envelope = { host = "h", port = 1, database = "d", environment = "test" },
      to = producer:topic(name, { max_bytes = 100000 }),
    })
    local written = 0
    local function write(count)
      local file = assert(io.open(path, "ab"))
      for _ = 1, count do
        written = written + 1
        file:write(('{"session_id":"s","line_num":%d,"message":"%s"}\n'):format(written, ("x"):rep(200)))
      end
      file:close()
    end
    local function seen(files)
      support.until_true(files .. " files to be seen", function() return object.follower:progress().files == files end)
    end
    local sender = task.spawn(object.run, object)
    local function all_acknowledged()
      local progress = object.follower:progress()
      return progress.in_flight == 0 and progress.acknowledged == progress.size and progress.size > 0
    end

    write(5000)
    support.until_true("the first lines to be acknowledged", all_acknowledged)
    broker:stop()
    write(5000)
    os.rename(path, path .. ".1")
    write(10)
    seen(2)
    os.rename(path, path .. ".2")
    write(5000)
    seen(3)
    os.remove(path .. ".1")
    os.remove(path .. ".2")
    local before = object.follower:progress()
    assert.is_true(before.acknowledged < before.size)
    broker:start()
    support.until_true("all lines to be acknowledged", all_acknowledged)

    task.cancel(sender)
    task.join(sender)
    producer:close()
    local next_line = 1
    for _, message in ipairs(support.read(broker.bootstrap, name)) do
      local line = tonumber(message.value:match '"uid":"s/(%d+)"')
      assert.is_true(line <= next_line, ("line %d came where line %d was next"):format(line, next_line))
      next_line = math.max(next_line, line + 1)
    end
    assert.equal(written, next_line - 1)
  end)
end)

describe("a script that follows a file", function()
  it("loses no line when it is killed at any moment", function()
    local directory = servers.directory()
    local path, got = directory .. "/a.log", directory .. "/got"
    local script = process.write(directory .. "/follow.lua", ([[
      local dbobs = require "dbobs"
      local out = io.open(%q, "a")
      for line in dbobs.tail { path = %q, checkpoint = %q, poll = "20ms", grace = "300ms" } do
        out:write(line, "\n")
        out:flush()
      end]]):format(got, path, directory .. "/position.json"))
    local n = 0
    local function write(name, count)
      local texts = {}
      for i = 1, count do texts[i] = "line " .. n + i end
      n = n + count
      local file = assert(io.open(name, "ab"))
      file:write(file_line(texts))
      file:close()
    end
    write(path, 1)
    for round = 1, 5 do
      local one = process.start { "run", script }
      write(path, 3000)
      process.until_true(function() return (process.read(got) or ""):find("line " .. n - 3000 + round * 7 .. "\n", 1,
        true) end, "lines")
      one:signal "KILL"
      one:wait()
      if round % 2 == 0 then
        os.rename(path, path .. "." .. round)
        write(path .. "." .. round, 10)
      end
      write(path, 10)
    end
    local one = process.start { "run", script }
    process.until_true(function() return (process.read(got) or ""):find("line " .. n .. "\n", 1, true) end,
      "the last line")
    one:signal "TERM"
    assert.equal(0, one:wait())
    local seen = {}
    for line in process.read(got):gmatch "line (%d+)\n" do seen[tonumber(line)] = true end
    local lost = {}
    for i = 1, n do
      if not seen[i] then lost[#lost + 1] = i end
    end
    assert.equal("", table.concat(lost, " "))
  end)
end)

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, {
      "query_error", "authentication_failure", "connection", "deadlock", "checkpoint", "vacuum", "lock_wait",
      "temp_file", "slow_query", "plan", "log"
    })
  end)
end)
