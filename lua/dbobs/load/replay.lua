--- Statements of a server log, as sessions for a workload's feed: from a jsonlog file, or from the topic raw-logs.
local json = require "cjson"

local M = {}

-- Seconds of a log's time, "2026-11-23 01:38:23.139 UTC" or ISO 8601. Its zone is the same on every line and left out.
local function seconds_of(text)
  local y, mo, d, h, mi, s = text:match "^(%d+)-(%d+)-(%d+)[ T](%d+):(%d+):([%d%.]+)"
  if not y then return nil end
  -- Days since 1970 by the civil calendar.
  y, mo = tonumber(y), tonumber(mo)
  if mo <= 2 then y, mo = y - 1, mo + 12 end
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (mo - 3) + 2) / 5) + tonumber(d) - 719469
  return ((days * 24 + tonumber(h)) * 60 + tonumber(mi)) * 60 + tonumber(s)
end

--- The arguments of a statement as the log's detail has them: "Parameters: $1 = '42', $2 = NULL".
---@param detail string|nil
---@return table arguments texts, with n
function M.arguments(detail)
  local arguments = { n = 0 }
  local list = detail and detail:match "^[Pp]arameters: (.*)$"
  local at = 1
  while list do
    local number, from = list:match("^%$(%d+) = ()", at)
    if not number then break end
    arguments.n = tonumber(number)
    if list:sub(from, from) == "'" then
      local value = {}
      at = from + 1
      while true do
        local quote = list:find("'", at, true)
        if not quote then return arguments end
        value[#value + 1] = list:sub(at, quote - 1)
        at = quote + 1
        if list:sub(at, at) ~= "'" then break end
        value[#value + 1] = "'"
        at = at + 1
      end
      arguments[arguments.n] = table.concat(value)
    else
      at = list:match("^NULL()", from) or #list + 1
    end
    at = list:match("^, ()", at) or #list + 1
  end
  return arguments
end

local KINDS = { select = "select", insert = "insert", update = "update", delete = "delete" }

-- The statement of a record of the log; nil when it has none.
local function entry_of(record)
  local message = record.message
  if type(message) ~= "string" or type(record.session_id) ~= "string" then return nil end
  local duration, rest = message:match "^duration: ([%d%.]+) ms  (.*)$"
  local kind, sql = (rest or message):match "^(%l+)[^:]*: (.*)$"
  if kind ~= "statement" and kind ~= "execute" then return nil end
  local time = seconds_of(record.timestamp or "")
  if not time or sql:lower():match "^%s*copy%s.*%sfrom%s+stdin" then return nil end
  local detail = type(record.detail) == "string" and record.detail or nil
  return {
    session = record.session_id, at = time - (tonumber(duration) or 0) / 1e3, sql = sql,
    arguments = kind == "execute" and M.arguments(detail) or { n = 0 },
    event = KINDS[(sql:match "^%s*(%a+)" or ""):lower()] or "other",
  }
end

--- Sorts records into sessions.
---@param records fun(): table|nil gives one record of the log after the other, under jsonlog's names
---@param speed number how much faster than it was
---@return table[] sessions each a list of {at, event, sql, arguments}, seconds after the first statement of all
function M.sessions(records, speed)
  local by_id, sessions, first = {}, {}, math.huge
  for record in records do
    local entry = entry_of(record)
    if entry then
      if not by_id[entry.session] then
        by_id[entry.session] = {}
        sessions[#sessions + 1] = by_id[entry.session]
      end
      table.insert(by_id[entry.session], entry)
      first = math.min(first, entry.at)
    end
  end
  for _, session in ipairs(sessions) do
    for _, entry in ipairs(session) do entry.at = (entry.at - first) / speed end
  end
  return sessions
end

--- The records of a jsonlog file. Lines that are none are left out.
---@param path string
function M.file(path)
  local file = assert(io.open(path, "rb"))
  return function()
    for line in file:lines() do
      local ok, record = pcall(json.decode, line)
      if ok and type(record) == "table" then return record end
    end
    file:close()
  end
end

--- The records that are in a topic now.
---@param brokers string
---@param topic string
function M.topic(brokers, topic)
  local consumer = assert(require("dbobs.kafka").consumer {
    ["bootstrap.servers"] = brokers, topics = { topic }, group = "dbobs-replay-" .. math.random(2 ^ 31),
    ["auto.offset.reset"] = "earliest", ["enable.auto.commit"] = "false",
  })
  return function()
    while true do
      local message = consumer:poll "5s"
      if not message then
        consumer:close()
        return nil
      end
      local ok, value = pcall(json.decode, message.value)
      local record = ok and type(value) == "table" and type(value.payload) == "table" and value.payload.record
      if type(record) == "table" then return record end
    end
  end
end

return M
