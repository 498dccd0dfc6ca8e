-- Log delivery under kills: see run.sh. Writers write, dbobs follows and is killed, the broker and the disk fail now
-- and then; at the end the oracle counts what came.
local dbobs = require "dbobs"
local format = require "tests.chaos.format"
local oracle = require "tests.chaos.oracle"
local process = require "support.process"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"
local writer = require "tests.chaos.writer"

local given = dbobs.arguments { kills = 100, delivery = "at_least_once", seed = 1, format = "all", source = "file" }
local kills, delivery, seed, wanted = given.kills, given.delivery, given.seed, given.format
local TOPIC = "raw-logs"
-- How long nothing may come before what is missing counts as lost.
local PATIENCE = 60

math.randomseed(seed)
local random = math.random

local function say(text, ...)
  sys.write(text:format(...) .. "\n")
end

-- ---- what is around dbobs ---------------------------------------------------

local broker = servers.kafka { name = "chaos",
  "--set", "transaction.abort.timed.out.transaction.cleanup.interval.ms=200" }
-- Over SQL the logs are read by a server, which unpacks nothing.
local reader_server = given.source == "sql" and servers.postgres { name = "chaos" }
local state = servers.directory()
local home = servers.directory()
local writers, list = {}, {}
for name in pairs(format.formats) do
  if wanted == "all" or wanted == name then
    writers[name] = writer.new(name, random, reader_server and writer.COMPRESSED)
    list[#list + 1] = name
  end
end
assert(#list > 0, "format must be jsonlog, csvlog, stderr or all")
table.sort(list)

do
  local kafka = dbobs.kafka { ["bootstrap.servers"] = broker.bootstrap }
  assert(kafka:create_topic(TOPIC, { partitions = 1 }))
  kafka:close()
end

-- A reader of the topic all the while, which tells when files may go.
local processes = {}
local function start(...)
  processes[#processes + 1] = process.start(...)
  return processes[#processes]
end
local function start_reader(...)
  return start({ "-C", "-q", "-u", "-b", broker.bootstrap, "-t", TOPIC, "-X", "isolation.level=read_committed",
    "-X", "check.crcs=true", "-o", "beginning", ... }, nil, { command = "kcat" })
end
local down -- how to get the broker back, while it is away
local watch = { oracle = oracle.new(), reader = start_reader(), at = 0 }
function watch:look()
  local file = assert(io.open(self.reader.out, "rb"))
  file:seek("set", self.at)
  local text = file:read "*a"
  file:close()
  self.at = self.at + #text
  self.oracle:read(text)
  for name, one in pairs(writers) do
    local counts = self.oracle:of(name)
    one:seen(function(number) return counts.uids[number] ~= nil end)
  end
  -- It ends when it has no broker for a while: the next one reads all anew.
  if not self.reader:running() and not down then
    self.reader, self.at, self.oracle = start_reader(), 0, oracle.new()
  end
end

-- ---- what goes wrong --------------------------------------------------------

local function start_dbobs()
  local words = { "run", "tests/chaos/pipeline.lua", "brokers=" .. broker.bootstrap, "topic=" .. TOPIC,
    "delivery=" .. delivery, "prefix=" .. format.prefix }
  for _, name in ipairs(list) do words[#words + 1] = ("%s=%s"):format(name, writers[name].pattern) end
  if reader_server then words[#words + 1] = "sql=" .. reader_server.port end
  return start(words, { DBOBS_STATE_DIR = state, HOME = home })
end

local happened = {}
local function count(what)
  happened[what] = (happened[what] or 0) + 1
end

-- A write of the checkpoint meets a full disk: that is what the kernel says of this device.
local disk = {}
function disk.fill()
  for _, name in ipairs(list) do
    os.execute(("ln -sfn /dev/full %s"):format(servers.quote(("%s/%s.logs.json.part"):format(state, name))))
  end
  disk.full = true
  count "disk full"
end
function disk.empty()
  if not disk.full then return end
  for _, name in ipairs(list) do
    os.execute(("find %s -name '*.part' -type l -delete"):format(servers.quote(state)))
    os.remove(("%s/%s.logs.json.part"):format(state, name))
  end
  disk.full = false
end

local function break_broker()
  local how = random(1, 3)
  if how == 1 then
    broker:stop()
    down = function() broker:start() end
  elseif how == 2 then
    broker:kill()
    down = function() broker:start() end
  else
    broker:pause()
    down = function() broker:resume() end
  end
  count(({ "broker stopped", "broker killed", "broker paused" })[how])
end
local function mend_broker()
  if down then down() end
  down = nil
end

-- ---- the course of things ---------------------------------------------------

-- Writes for about so many seconds.
local function write_for(seconds)
  local until_time = sys.monotonic() + seconds
  repeat
    for _, name in ipairs(list) do
      local one = writers[name]
      if random(1, 120) == 1 then one:rotate() else one:write(random(1, 40)) end
    end
    watch:look()
    dbobs.sleep(random(1, 40) / 1000)
  until sys.monotonic() > until_time
end

local said = {}

local function kill(number)
  local victim = start_dbobs()
  -- Some die while they start, most while they send.
  local life = random(1, 4) == 1 and random(0, 60) / 1000 or random(100, 1200) / 1000
  if number % 10 == 5 then disk.fill() end
  write_for(life / 2)
  -- The broker goes and comes back while dbobs lives, which sees both, and the next ones start without it.
  if number % 20 == 11 then break_broker() end
  if number % 20 == 14 then mend_broker() end
  write_for(life / 2)
  victim:signal "KILL"
  victim:wait()
  said[#said + 1] = ("%s%s killed\n"):format(victim:stderr(), writer.clock())
  if number % 10 == 7 then disk.empty() end
  -- The log goes on, and is rotated, while nobody reads it.
  if random(1, 3) == 1 then write_for(random(0, 100) / 1000) end
  if random(1, 6) == 1 then writers[list[random(1, #list)]]:rotate() end
end

local function complete()
  for _, name in ipairs(list) do
    if watch.oracle:of(name):lost(writers[name].written) > 0 then return false end
  end
  return true
end

-- Waits until all is there, or nothing comes any more.
local function wait_for_the_rest()
  local at, since = -1, sys.monotonic()
  repeat
    watch:look()
    if watch.at ~= at then at, since = watch.at, sys.monotonic() end
    if complete() then return end
    dbobs.sleep "200ms"
  until sys.monotonic() - since > PATIENCE
end

-- Until dbobs knows a log, nothing tells it what was rotated away.
local function make_known()
  local one = start_dbobs()
  for _, name in ipairs(list) do
    writers[name]:write(10)
    writers[name]:complete()
  end
  process.until_true(function()
    watch:look()
    return complete()
  end, "the first records")
  one:signal "TERM"
  one:wait()
end

-- All that happens. Returns what the topic holds then, and the last dbobs, which ended.
local function happen()
  make_known()
  for number = 1, kills do kill(number) end
  disk.empty()
  mend_broker()
  local last = start_dbobs()
  write_for(1)
  for _, name in ipairs(list) do writers[name]:close() end
  wait_for_the_rest()
  last:signal "TERM"
  last:wait()
  watch.reader:signal "TERM"
  watch.reader:wait()
  -- The verdict is of the topic as it stands, read once more from its beginning.
  local reader = start_reader "-e"
  process.until_true(function() return not reader:running() end, "kcat to read the topic")
  local verdict = oracle.new()
  verdict:read(reader:stdout())
  return verdict, last
end

say("chaos: kills=%d delivery=%s format=%s source=%s seed=%d", kills, delivery, wanted, given.source, seed)
local happened_well, verdict, last = xpcall(happen, debug.traceback)
for _, one in ipairs(processes) do
  if one:running() then one:signal "KILL" end
end
if not happened_well then error(verdict, 0) end
local code = last:wait()

local function pairs_text(counted)
  local texts = {}
  for what, times in pairs(counted) do texts[#texts + 1] = ("%s %d"):format(what, times) end
  table.sort(texts)
  return table.concat(texts, ", ")
end

local passed, failed = 0, 0
local function check(ok, text, ...)
  if ok then passed = passed + 1 else failed = failed + 1 end
  if not ok then say("FAILED " .. text, ...) end
end

say("%-8s %9s %9s %6s %9s %13s %6s", "format", "written", "received", "lost", "repeated", "out of order", "torn")
for _, name in ipairs(list) do
  local counts = verdict:of(name)
  local written = writers[name].written
  local lost, which = counts:lost(written)
  say("%-8s %9d %9d %6d %9d %13d %6d", name, written, counts.received, lost, counts.repeated, counts.disordered,
    counts.torn)
  local files = "; its files: " .. table.concat(writers[name].history, "\n  ")
  check(lost == 0, "%s: lost %s%s", name, which, files)
  check(counts.torn == 0, "%s: torn, for example %s", name, tostring(counts.example))
  check(counts.changed == 0, "%s: %d records came again with another uid", name, counts.changed)
  if delivery == "exactly_once" then
    check(counts.repeated == 0, "%s: repeated %s%s", name, select(2, counts:doubled()), files)
  end
  say("         rotations: %s", pairs_text(writers[name].rotations))
end
check(verdict.foreign == 0, "%d records are no JSON of a log", verdict.foreign)
check(code == 0, "dbobs ended with exit code %d: %s", code, last:stderr())
say("kills %d, %s", kills, pairs_text(happened))
if failed > 0 then process.write("build/chaos.log", table.concat(said)) end
say("%d passed, %d failed", passed, failed)
if failed > 0 then error("lines were not delivered as promised (seed " .. seed .. ")", 0) end
