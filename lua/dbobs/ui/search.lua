--- What the page asks of a topic's records: a page of them, newest first or from a place on, one whole, or those that
--- come. Parameters are texts, as they stand in the address; a place to go on from is a text that the page gives back.
local cjson = require "cjson"
local forward = require "dbobs.ui.forward"
local kafka = require "dbobs.kafka"
local newest = require "dbobs.ui.newest"
local rows = require "dbobs.ui.rows"
local survey = require "dbobs.kafka_survey"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local window = require "dbobs.ui.window"

local M = {}

local LIMIT, MOST = 50, 500
-- A search that looks for something ends after this time, one that takes what there is waits longer for slow brokers.
local SEARCH_SECONDS, READ_SECONDS = 5, 15
local RECORD_BYTES = 2 ^ 30
-- Live: rows are sent at most so often and so many at once; what is more is counted.
local LIVE_SECONDS, LIVE_ROWS, ALIVE_SECONDS = 0.25, 50, 10

---@class dbobs.ui.failure what was wrong with a question: status is HTTP's
local function failure(status, text)
  return nil, { status = status, text = text }
end

-- The ways in which a text can stand in a value: as it is, or within a JSON string.
local function ways_of(text)
  local within = cjson.encode(text):sub(2, -2)
  local plain = within:gsub("\\/", "/")
  local ways = { text }
  for _, way in ipairs { plain, within } do
    if way ~= ways[#ways] then ways[#ways + 1] = way end
  end
  return ways
end

-- Whether a record has the texts in its key and its value, whose bytes are looked at: JSON and OTLP hold text as it is.
local function matcher(given)
  local key, text = given.key or "", given.text or ""
  if key == "" and text == "" then return function() return true end, false end
  local ways = ways_of(text)
  return function(message)
    if key ~= "" and not (message.key and message.key:find(key, 1, true)) then return false end
    if text == "" then return true end
    for i = 1, message.value and #ways or 0 do
      if message.value:find(ways[i], 1, true) then return true end
    end
    return false
  end, true
end

-- The topic, and the bounds of its partitions or of the one that is asked for.
local function find_topic(monitor, given)
  if not given.topic or given.topic == "" then return failure(400, "which topic?") end
  local topic, bounds, unknown = monitor:topic(given.topic)
  if not topic then return failure(unknown and 404 or 502, bounds) end
  if (given.partition or "") == "" then return topic, bounds end
  local partition = tonumber(given.partition)
  if not partition or not bounds[partition] then
    return failure(404, ("topic '%s' has no partition '%s' that answers, only 0 to %d"):format(topic.name,
      given.partition, #topic.partitions - 1))
  end
  return topic, { [partition] = bounds[partition] }
end

-- The place to go on from: {"before" or "after": {"partition": offset}, "size": n}, or offsets alone.
local function read_places(text)
  local ok, value = pcall(cjson.decode, text)
  if not ok or type(value) ~= "table" then return nil end
  local places = {}
  for partition, offset in pairs(value) do
    if not tonumber(partition) or type(offset) ~= "number" then return nil end
    places[tonumber(partition)] = offset
  end
  return places
end

local function write_places(places)
  local texts = {}
  for partition, offset in pairs(places) do texts[tostring(partition)] = offset end
  return rows.encode(texts)
end

local function ends_of(bounds)
  local ends = {}
  for partition, bound in pairs(bounds) do ends[partition] = bound.high end
  return write_places(ends)
end

-- The offsets at which to begin, from what a person writes.
local function starts_of(monitor, topic, bounds, from)
  local kind, value = kafka.parse_from(from)
  if not kind then return failure(400, value) end
  local starts = {}
  if kind == "time" then
    local places = {}
    for partition in pairs(bounds) do places[#places + 1] = partition end
    local offsets, cause = survey.offsets(monitor.client, { [topic.name] = places }, math.max(0, value))
    if not offsets then return failure(502, cause) end
    starts = offsets[topic.name] or {}
  end
  for partition, bound in pairs(bounds) do
    if kind == "offset" then starts[partition] = value < 0 and bound.high + value or value end
    if kind == "end" or kind == "time" then starts[partition] = starts[partition] or bound.high end
  end
  return starts
end

local function answer(page, bounds, limited)
  local oldest = page.oldest
  if oldest == math.huge then oldest = nil end
  return { rows = page.rows, looked_at = page.looked_at, bytes = page.bytes, oldest = oldest, limited = limited,
    silent = page.silent, problem = page.problem, ends = ends_of(bounds) }
end

local function read_newest(search, given)
  search.before = given.go_on and read_places(given.go_on) or {}
  search.size = tonumber(given.size)
  local page, cause = newest.page(search)
  if not page or page.problem and page.looked_at == 0 then return failure(502, cause or page.problem) end
  local all = answer(page, search.bounds, #page.rows < search.limit)
  all.go_on, all.size = page.before and write_places(page.before), page.size
  return all
end

local function read_forward(search, given, monitor, topic)
  search.after = given.go_on and read_places(given.go_on)
  if not search.after then
    local starts, problem = starts_of(monitor, topic, search.bounds, given.from)
    if not starts then return nil, problem end
    search.after = starts
  end
  local page, cause = forward.page(search)
  if not page or page.problem and page.looked_at == 0 then return failure(502, cause or page.problem) end
  local all = answer(page, search.bounds, #page.rows < search.limit)
  all.go_on, all.more = write_places(page.after), page.more
  return all
end

--- A page of records.
---@param monitor dbobs.ui.monitor
---@param given table<string, string> topic; from ("newest", or as dbobs.kafka.parse_from has it), partition, key, text
---  (what key and value must contain), limit, go_on and size (of the page before)
---@return table|nil page for JSON, {status: integer, text: string}|nil problem
function M.records(monitor, given)
  local topic, bounds = find_topic(monitor, given)
  if not topic then return nil, bounds end
  if given.go_on and not read_places(given.go_on) then return failure(400, "go_on: offsets by partition expected") end
  local limit = math.floor(math.max(1, math.min(MOST, tonumber(given.limit) or LIMIT)))
  local match, selective = matcher(given)
  local search = { properties = monitor.properties, topic = topic.name, bounds = bounds, limit = limit, match = match,
    row = rows.row, until_time = sys.monotonic() + (selective and SEARCH_SECONDS or READ_SECONDS) }
  if (given.from or "newest") == "newest" or given.from == "" then return read_newest(search, given) end
  return read_forward(search, given, monitor, topic)
end

--- One record, whole.
---@param monitor dbobs.ui.monitor
---@param given table<string, string> topic, partition, offset
---@return table|nil message, {status: integer, text: string}|nil problem
function M.record(monitor, given)
  local offset = tonumber(given.offset)
  if not offset or not tonumber(given.partition) then return failure(400, "which partition and offset?") end
  local topic, bounds = find_topic(monitor, given)
  if not topic then return nil, bounds end
  local partition, bound = next(bounds)
  local where = ("offset %s of partition %s of topic '%s'"):format(given.offset, given.partition, topic.name)
  if offset < bound.low or offset >= bound.high then
    return failure(404, ("there is no %s any more: it has %d to %d"):format(where, bound.low, bound.high - 1))
  end
  local found
  local range = { partition = partition, from = offset, to = offset + 1 }
  local budget = { until_time = sys.monotonic() + READ_SECONDS, bytes = RECORD_BYTES }
  local ok, cause = window.read(monitor.properties, topic.name, { range }, budget, function(message)
    found = message
    return false
  end)
  if not ok then return failure(502, cause) end
  if found then return found end
  if cause then return failure(502, cause) end
  return failure(range.ended and 404 or 504, range.ended and "there is no record at " .. where .. ": it was compacted "
    .. "away, or is a mark of a transaction" or "the broker did not send " .. where .. " in time")
end

-- ---- live ------------------------------------------------------------------

-- Takes messages until it is time to send; returns rows, how many more there were, and the last problem.
local function gather(consumer, match, next_offsets)
  local found, skipped, problem = {}, 0, nil
  local until_time = sys.monotonic() + LIVE_SECONDS
  for count = 1, math.huge do
    local message, cause, final = consumer:take()
    if message == nil then
      problem = cause
      if final then return nil, 0, cause end
    elseif message == false then
      local left = until_time - sys.monotonic()
      if left <= 0 then break end
      task.wait(consumer.core, left)
    elseif not message.eof then
      next_offsets[message.partition] = message.offset + 1
      if match(message) then
        found[#found + 1] = rows.row(message)
        if #found > LIVE_ROWS then
          table.remove(found, 1)
          skipped = skipped + 1
        end
      end
    end
    if sys.monotonic() > until_time then break end
    if count % 500 == 0 then task.wait(nil, 0) end
  end
  return found, skipped, problem
end

-- Sends what was gathered; returns whether anything was sent, and whether somebody listens.
local function tell(send, found, skipped, problem, next_offsets)
  local listening = true
  if problem then listening = send("problem", rows.encode { text = problem }) end
  if listening and found and #found > 0 then
    listening = send("rows", rows.encode { rows = found, skipped = skipped }, write_places(next_offsets))
  end
  return problem ~= nil or (found and #found > 0), listening
end

local function follow(consumer, match, next_offsets, send)
  local sent_at = sys.monotonic()
  while true do
    local found, skipped, problem = gather(consumer, match, next_offsets)
    local sent, listening = tell(send, found, skipped, problem, next_offsets)
    if not sent and sys.monotonic() - sent_at > ALIVE_SECONDS then sent, listening = true, send("alive", "{}") end
    if not listening or not found then return end
    if sent then sent_at = sys.monotonic() end
  end
end

--- Sends records as they come, until `send` says that nobody listens.
---@param monitor dbobs.ui.monitor
---@param given table<string, string> topic, partition, key, text, go_on (where to begin; the ends when there is none)
---@return (fun(send: fun(event: string, json: string, id: string|nil): boolean))|nil run
---@return {status: integer, text: string}|nil problem
function M.live(monitor, given)
  local topic, bounds = find_topic(monitor, given)
  if not topic then return nil, bounds end
  local places = given.go_on and read_places(given.go_on) or {}
  local starts, next_offsets = {}, {}
  for partition, bound in pairs(bounds) do
    local from = math.max(bound.low, math.min(places[partition] or bound.high, bound.high))
    starts[#starts + 1] = { topic = topic.name, partition = partition, from = from }
    next_offsets[partition] = from
  end
  if #starts == 0 then return failure(502, ("no partition of topic '%s' has a leader"):format(topic.name)) end
  local match = matcher(given)
  return function(send)
    if not send("begin", "{}", write_places(next_offsets)) then return end
    local consumer = window.consumer(monitor.properties, starts)
    local ok, cause = pcall(follow, consumer, match, next_offsets, send)
    consumer:close()
    if not ok then error(cause, 0) end
  end
end

return M
