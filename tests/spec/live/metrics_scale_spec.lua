-- The metrics collector in a process of its own, as people run it, on servers that are large: what it holds in memory,
-- how many connections it has, and that nothing is missing or there twice.
local dbobs = require "dbobs"
local kafka_support = require "support.kafka"
local otlp = require "dbobs.otlp"
local process = require "support.process"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"

local MIB = 2 ^ 20

-- Under the sanitizers everything takes several times as long, and memory is not what it is in the binary that ships:
-- there the same is asked of a tenth of the relations and a fifth of the databases, and of three times the memory.
local SANITIZED = process.dbobs:find "/sanitize/" ~= nil
local TABLES = SANITIZED and 5000 or 50000
local DATABASES = SANITIZED and 200 or 1000
local MOST_MEMORY = (SANITIZED and 192 or 64) * MIB

local PIPELINE = [[
local dbobs = require "dbobs"
local kafka = dbobs.kafka { ["bootstrap.servers"] = dbobs.env "BROKER" }
dbobs.collect(require "collectors.metrics", {
  host = "127.0.0.1", port = dbobs.env "PORT", user = "dbobs_monitor", password = "monitor", dbname = "postgres",
  databases = { "scale_*" }, connections = tonumber(dbobs.env "CONNECTIONS"), statement_timeout = "10m",
}, { every = "2h", jitter = 0, to = kafka:topic(dbobs.env "TOPIC") })
]]

-- What is read of a process's state, in bytes: VmRSS or VmHWM, its highest.
local function memory_of(collector, name)
  return tonumber(process.read(("/proc/%d/status"):format(collector.pid)):match(name .. ":%s*(%d+)")) * 1024
end

-- The connections to the server's port on this machine, as their clients see it: those that are being made or stand,
-- by the inode of the socket.
local function connections_to(port)
  local found = {}
  local pattern = ("%%d+: %%x+:%%x+ %%x+:%04X 0[12] %%S+ %%S+ %%S+ +%%d+ +%%d+ (%%d+)"):format(port)
  for inode in process.read("/proc/net/tcp"):gmatch(pattern) do found[inode] = true end
  return found
end

-- The server's processes that are still greeting a client, by their pid.
local function greeting(server)
  local found = {}
  local path = ("/proc/%s/task/%s/children"):format(server.pid, server.pid)
  for pid in process.read(path):gmatch "%d+" do
    local title = process.read("/proc/" .. pid .. "/cmdline") or ""
    if title:find "dbobs_monitor.* authentication" or title:find "dbobs_monitor.* startup" then found[pid] = true end
  end
  return found
end

-- The most there were at once of what look() finds. Looking takes its time, in which one goes and another comes: what
-- two looks found was there all the time between them.
local function most_at_once(look)
  local most, before = 0, {}
  return function()
    local found, both = look(), 0
    for name in pairs(found) do
      if before[name] then both = both + 1 end
    end
    most, before = math.max(most, both), found
    return most
  end
end

-- A client of the server that has named itself and says nothing more, so that the server greets it until it is gone.
local function silent_client(server)
  local words = "user\0dbobs_monitor\0database\0postgres\0\0"
  local hello = ("\0\0\0%c\0\3\0\0%s"):format(8 + #words, words)
  local file = process.write(servers.directory() .. "/hello", hello)
  local script = ("exec 3<>/dev/tcp/127.0.0.1/%d; cat %s >&3; exec cat <&3 >/dev/null"):format(server.port, file)
  return process.start({ "-c", script }, {}, { command = "bash" })
end

-- Calls each(message) for what comes into a topic until it returns true; raises when that takes long.
local function consume(bootstrap, topic, each)
  local consumer = dbobs.kafka.consumer {
    ["bootstrap.servers"] = bootstrap, topics = { topic }, ["fetch.wait.max.ms"] = 20,
  }
  local until_time = sys.monotonic() + 300
  repeat
    local message = consumer:poll(1)
    if message and each(message) then return consumer:close() end
  until sys.monotonic() > until_time
  consumer:close()
  error("waited in vain for the rest of topic " .. topic, 2)
end

local function start(server, broker, topic, connections)
  local file = process.write(servers.directory() .. "/pipeline.lua", PIPELINE)
  return process.start({ "run", file },
    { BROKER = broker.bootstrap, TOPIC = topic, PORT = server.port, CONNECTIONS = connections })
end

local function new_topic(broker, name)
  local kafka = dbobs.kafka { ["bootstrap.servers"] = broker.bootstrap }
  local topic = kafka_support.name(name)
  assert(kafka:create_topic(topic, {}))
  kafka:close()
  return topic
end

local function stop(collector)
  collector:signal "TERM"
  assert.equal(0, collector:wait(), collector:stderr())
end

local function count_into(counts, text, pattern)
  for name in text:gmatch(pattern) do counts[name] = (counts[name] or 0) + 1 end
end

local function check_each_once(counts, prefix)
  local found = 0
  for name, count in pairs(counts) do
    assert.equal(1, count, name)
    found = found + 1
  end
  assert.equal(TABLES, found)
  assert.equal(1, counts[prefix .. "1"])
  assert.equal(1, counts[prefix .. TABLES])
end

describe("a database with many relations", function()
  local server, broker
  local HALF = TABLES / 2

  setup(function()
    broker = servers.kafka()
    server = servers.postgres { name = "many relations", "--set", "max_locks_per_transaction=2048",
      "--set", "autovacuum=off", "--set", "max_wal_size=4GB", "--set", "log_min_duration_statement=-1" }
    server:psql "create database scale_relations"
    -- Two at a time: creating a table and an index is a millisecond of CPU.
    local psql = "tests/servers/postgres.sh psql " .. server.dir .. " -AtqX -v ON_ERROR_STOP=1 -d scale_relations -c "
    local commands = {}
    for half = 0, 1 do
      local list = {}
      for first = half * HALF + 1, (half + 1) * HALF, 5000 do
        local last = math.min(first + 4999, (half + 1) * HALF)
        list[#list + 1] = psql .. servers.quote(([[do $$ begin for i in %d..%d loop
          execute format('create table t%%s (a int)', i); execute format('create index i%%s on t%%s (a)', i, i);
          end loop; end $$]]):format(first, last))
      end
      commands[#commands + 1] = "(" .. table.concat(list, " && ") .. ") & pid" .. half .. "=$!"
    end
    local output, ok = servers.shell(table.concat(commands, "\n") .. "\nwait $pid0 && wait $pid1")
    assert(ok, output)
  end)

  teardown(function() servers.drop(server) end)

  it("sends each of them once, in several records that the topic takes, in bounded memory", function()
    local topic = new_topic(broker, "relations")
    local collector = start(server, broker, topic, 2)
    local tables, indexes, records, largest = {}, {}, 0, 0
    consume(broker.bootstrap, topic, function(message)
      records, largest = records + 1, math.max(largest, #message.value)
      local text = assert(otlp.decode(message.value))
      count_into(tables, text, '"postgresql%.table%.name","value":{"stringValue":"public%.(t%d+)"')
      count_into(indexes, text, '"postgresql%.index%.name","value":{"stringValue":"(i%d+)"')
      -- The database itself is the last resource.
      return text:find('"postgresql.table.count"', 1, true)
    end)
    local highest = memory_of(collector, "VmHWM")
    stop(collector)
    check_each_once(tables, "t")
    check_each_once(indexes, "i")
    assert.is_true(records > TABLES / 5000, records .. " records")
    assert.is_true(largest <= 1048576, largest .. " bytes in a record")
    assert.is_true(highest < MOST_MEMORY, ("%.1f MiB"):format(highest / MIB))
  end)
end)

describe("a server with many databases", function()
  local server, broker
  local KEPT, FIRST_OID = 20, 1000000

  setup(function()
    broker = servers.kafka()
    server = servers.postgres { name = "many databases", "--set", "autovacuum=off", "--set", "max_wal_size=4GB",
      "--set", "checkpoint_timeout=1h", "--set", "log_connections=off", "--set", "log_disconnections=off" }
    server:psql "create database template_scale"
    server:psql([[do $$ begin for i in 1..20 loop
      execute format('create table t%s (a int)', i); execute format('create index i%s on t%s (a)', i, i);
      end loop; end $$]], "template_scale")
    server:psql("vacuum (freeze, analyze)", "template_scale")
    -- A copy of a database is 7 MB. Nothing is ever written to these, so they all have the files of one.
    local template = server:psql "select oid from pg_database where datname = 'template_scale'"
    server:stop()
    assert(select(2, servers.shell(("cd %s/base && for i in $(seq %d); do ln -s %s $((%d + i)); done"):format(
      server.data, DATABASES, template, FIRST_OID))))
    server:start()
    local columns = server:psql [[select string_agg(quote_ident(attname), ', ') from pg_attribute
      where attrelid = 'pg_database'::regclass and attnum > 0 and attname not in ('oid', 'datname')]]
    server:psql(("insert into pg_database (oid, datname, %s) select %d + i, 'scale_' || i, %s "
      .. "from pg_database, generate_series(1, %d) i where datname = 'template_scale'"):format(columns, FIRST_OID,
      columns, DATABASES))
  end)

  teardown(function() servers.drop(server) end)

  it("sends one record of each, with few connections and in bounded memory", function()
    local topic = new_topic(broker, "databases")
    local most_connections = most_at_once(function() return connections_to(server.port) end)
    local most_greeting = most_at_once(function() return greeting(server) end)
    local client = silent_client(server)
    process.until_true(function() return most_greeting() == 1 end, "a client that is being greeted")
    client:signal "TERM"
    client:wait()
    local watch = dbobs.spawn(function()
      while true do
        most_connections()
        most_greeting()
        dbobs.sleep "2ms"
      end
    end)
    local collector = start(server, broker, topic, KEPT)
    local records, found = {}, 0
    consume(broker.bootstrap, topic, function(message)
      local text = assert(otlp.decode(message.value))
      records[message.key] = (records[message.key] or 0) + 1
      local _, tables = text:gsub('"postgresql%.table%.size"', "")
      if message.key:find ":scale_" then
        assert.equal(20, tables, message.key)
        found = found + 1
      end
      return found == DATABASES
    end)
    local highest = memory_of(collector, "VmHWM")
    dbobs.cancel(watch)
    -- The kept ones, and that to the maintenance database, are still there.
    process.until_true(function() return most_connections() > KEPT end, "the kept connections to be seen")
    stop(collector)
    for i = 1, DATABASES do assert.equal(1, records["127.0.0.1:scale_" .. i], i) end
    assert.equal(1, records["127.0.0.1:postgres"]) -- the server itself
    assert.is_true(highest < MOST_MEMORY, ("%.1f MiB"):format(highest / MIB))
    -- Beside the kept ones two that come and go, and the one to the maintenance database.
    assert.is_true(most_connections() <= KEPT + 2 + 1, most_connections() .. " connections")
    assert.is_true(most_greeting() <= 2, most_greeting() .. " connections opening")
  end)
end)
