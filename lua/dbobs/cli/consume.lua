--- dbobs consume: prints the records of topics, decoded.
local consume_filter = require "dbobs.consume_filter"
local consume_stats = require "dbobs.consume_stats"
local kafka = require "dbobs.kafka"
local log = require "dbobs.log"
local otlp = require "dbobs.otlp"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local terminal = require "dbobs.terminal"
local tool = require "dbobs.kafka_tool"

local M = {}

M.usage = [[
Usage: dbobs consume [TOPIC...] [options]

Prints records, decoded: one readable line for each, or one JSON object a line. Without a TOPIC those that
pipelines/pg.lua writes to. Ends at the end of the topics unless told to follow them.

]] .. tool.usage .. [[
  --from WHERE     beginning (the default), end, an offset, -N (the last N of each partition), 10m (ago), or a time
                   like 2026-01-31T12:00:00Z
  --until TIME     leave out what is later: 10m (ago), or a time
  --key KEY        only records of this key; * and ? stand for any characters and for one: 'db1:*'
  --text TEXT      only records in which the text stands, in key, names or values, in upper or lower case
  --follow         go on and wait for more, also for topics that do not exist yet
  --count N        stop after N records
  --for DURATION   stop after this time
  --json           {"topic":..,"key":..,"value":..,"partition":..,"offset":..,"timestamp":..} a line
  --details        readable: all points of a metrics record
  --stats          no records, but how many there are in each topic, how large, and how many a second by their time;
                   with --follow every 5s, by when they come; with --json a JSON object for each topic
  --every T        with --stats and --follow: how often (default: 5s)
  --summary        at the end: records of each topic, and errors
]]

M.options = {
  ["--brokers"] = "string",
  ["--config"] = "string",
  ["--from"] = "string",
  ["--until"] = "string",
  ["--key"] = "string",
  ["--text"] = "string",
  ["--stats"] = "boolean",
  ["--every"] = "duration",
  ["--follow"] = "boolean",
  ["--count"] = "number",
  ["--for"] = "duration",
  ["--json"] = "boolean",
  ["--details"] = "boolean",
  ["--summary"] = "boolean",
}

-- Output is written in pieces of about this size while records come fast.
local PIECE_BYTES = 65536
local LOOK_AGAIN_SECONDS = 0.5
local REPORT_SECONDS = 5

local function default_topics()
  local names = {}
  for _, value in pairs(require "topics") do
    if type(value) == "string" then names[#names + 1] = value end
  end
  table.sort(names)
  return names
end

---@class printer what was printed so far, and whether anybody still reads it
local printer = {}
printer.__index = printer

local function new_printer(given, filter)
  local form = given.json and "json" or given.details and "details" or "text"
  return setmetatable({ form = form, limit = given.count or math.huge, total = 0, records = {}, errors = 0,
    pieces = {}, bytes = 0, filter = filter, stats = given.stats and consume_stats.new(given.follow) or nil }, printer)
end

function printer:flush()
  if #self.pieces == 0 then return end
  if not sys.write(table.concat(self.pieces)) then self.closed = true end
  self.pieces, self.bytes = {}, 0
end

function printer:done()
  return self.closed or self.total >= self.limit
end

function printer:print(message)
  message.timestamp = message.timestamp and message.timestamp / 1000
  if not self.filter:matches(message) then return end
  self.total = self.total + 1
  self.records[message.topic] = (self.records[message.topic] or 0) + 1
  if self.stats then return self.stats:add(message) end
  local text = otlp.format_record(message, self.form)
  self.pieces[#self.pieces + 1] = text
  self.bytes = self.bytes + #text
  if self.bytes >= PIECE_BYTES or self:done() then self:flush() end
end

function printer:summary(topics)
  local lines = { "", ("%-32s %10s"):format("topic", "records") }
  for _, topic in ipairs(topics) do lines[#lines + 1] = ("%-32s %10d"):format(topic, self.records[topic] or 0) end
  lines[#lines + 1] = ("%d records, %d errors"):format(self.total, self.errors)
  local text = table.concat(lines, "\n") .. "\n"
  -- JSON output stays JSON for whoever reads it.
  if self.form == "json" then sys.log(text) else sys.write(text) end
end

-- Reads one consumer to the end of all its partitions, or for ever. Returns nil and a cause when it cannot go on.
local function read(consumer, out, follow)
  local ended = {}
  local open = nil
  local function finish(message)
    local place = message.topic .. "/" .. message.partition
    open = open or consumer:partitions()
    if not ended[place] then
      ended[place] = true
      open = open - 1
    end
    return open <= 0
  end
  while not out:done() do
    local message, cause, final = consumer:take()
    if message == false then
      out:flush()
      task.wait(consumer.core)
    elseif message == nil then
      out.errors = out.errors + 1
      if final then return nil, cause end
      log.error(cause)
    elseif message.eof then
      if finish(message) and not follow then break end
    elseif out.filter:is_late(message) then
      if finish(message) then break end
    else
      out:print(message)
    end
  end
  out:flush()
  return true
end

local function consume(properties, topics, out, given)
  local all = {}
  for name, value in pairs(properties) do all[name] = value end
  all.topics, all.from, all.eof = topics, given.from, true
  local consumer = kafka.consumer(all)
  local ok, cause, problem = pcall(read, consumer, out, given.follow)
  consumer:close()
  if not ok then error(cause, 0) end
  return cause, problem
end

-- Which of the names exist. nil and a cause when no broker answers.
local function split_topics(client, names)
  local topics, cause = client:topics()
  if not topics then return nil, cause end
  local known, there, missing = {}, {}, {}
  for _, topic in ipairs(topics) do known[topic.name] = true end
  for _, name in ipairs(names) do table.insert(known[name] and there or missing, name) end
  return there, missing
end

-- Follows topics as they come to exist: those that are there with one consumer, each group of later ones with another.
local function follow_all(properties, names, out, given)
  local client = kafka.producer(properties)
  local failure
  while #names > 0 and not out:done() and not failure do
    local there, missing = split_topics(client, names)
    if there then
      if #there > 0 then
        task.spawn(function()
          local ok, cause = consume(properties, there, out, given)
          if not ok then failure = cause end
        end)
      end
      names = missing
    end
    if #names > 0 then task.wait(nil, LOOK_AGAIN_SECONDS) end
  end
  client:close()
  while not out:done() and not failure do task.wait(nil, LOOK_AGAIN_SECONDS) end
  if failure then return nil, failure end
  return 0
end

local function read_all(properties, names, out, given, chosen)
  local client = kafka.producer(properties)
  local there, missing = split_topics(client, names)
  client:close()
  if not there then return nil, missing end
  for _, name in ipairs(missing) do
    local message = ("topic '%s' does not exist, or the Kafka user has no ACL Describe on it"):format(name)
    if chosen or #there == 0 then return nil, message end
    log.warn(message)
  end
  -- An end is told with the answer to a fetch, which the broker otherwise holds back for half a second.
  properties["fetch.wait.max.ms"] = properties["fetch.wait.max.ms"] or "50"
  local ok, cause = consume(properties, there, out, given)
  if not ok then return nil, cause end
  return 0
end

-- Tells the rates again and again, until nobody reads them.
local function report_regularly(out, names, given)
  local screen = terminal.output()
  while not screen.closed do
    task.wait(nil, given.every or REPORT_SECONDS)
    out.stats:report(screen, names, given.json)
  end
  out.closed = true
end

function M.run(arguments, given)
  local properties, problem = tool.properties(given)
  if not properties then return nil, problem end
  local kind, wrong = kafka.parse_from(given.from)
  if not kind then return nil, "option --from: " .. wrong end
  if given.count and given.count < 1 then return nil, "option --count: at least 1 expected" end
  if given["until"] and given.follow then return nil, "option --until: what is followed has no end" end
  if given.every and not (given.stats and given.follow) then
    return nil, "option --every: it goes with --stats and --follow"
  end
  local filter
  filter, problem = consume_filter.new { key = given.key, text = given.text, until_time = given["until"] }
  if not filter then return nil, problem end
  local chosen = #arguments > 0
  local names = chosen and arguments or default_topics()
  local out = new_printer(given, filter)
  local reporter = given.stats and given.follow and task.background(report_regularly, out, names, given)
  local code, cause = tool.interruptible(given.follow and follow_all or read_all, given["for"], properties, names, out,
    given, chosen)
  if reporter then task.cancel(reporter) end
  out:flush()
  if out.stats and (code or cause == tool.STOPPED) then out.stats:report(terminal.output(), names, given.json) end
  if given.summary and not out.closed then out:summary(names) end
  if code or cause == tool.STOPPED then return out.errors > 0 and 1 or 0 end
  log.error(cause, { brokers = properties["bootstrap.servers"] })
  return 1
end

return M
