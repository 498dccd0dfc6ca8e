--- Statements of a server log, as sessions for a workload: from a file in any of the server's formats, or from the
--- topic raw-logs.
local json = require "cjson"
local memory = require "dbobs.core.memory"
local sys = require "dbobs.core.sys"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

local M = {}

-- Seconds without a record after which a log that seems to hold more is at its end.
local QUIET = 2

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
  -- A plain log tells sessions apart by what its prefix has: %c, or else %p.
  local session = record.session_id or record.pid
  if type(message) ~= "string" or not session then return nil end
  local duration, rest = message:match "^duration: ([%d%.]+) ms  (.*)$"
  local kind, sql = (rest or message):match "^(%l+)[^:]*: (.*)$"
  if kind ~= "statement" and kind ~= "execute" then return nil end
  local time = seconds_of(record.timestamp or "")
  if not time or sql:lower():match "^%s*copy%s.*%sfrom%s+stdin" then return nil end
  local detail = type(record.detail) == "string" and record.detail or nil
  return {
    session = tostring(session), at = time - (tonumber(duration) or 0) / 1e3, sql = sql,
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

-- The record of the server in one of raw-logs; nil when it has none.
local function record_of(text)
  local ok, value = pcall(json.decode, text)
  local record = ok and type(value) == "table" and type(value.payload) == "table" and value.payload.record
  return type(record) == "table" and record or nil
end

local FORMATS = { json = "jsonlog", csv = "csvlog" }

--- The records of a log file as it is now: jsonlog when its name ends in .json, csvlog in .csv, else the plain format.
---@param path string
---@param prefix string|nil log_line_prefix of a plain log
---@return (fun(): table|nil)|nil records, string|nil cause
function M.file(path, prefix)
  local file, cause = io.open(path, "rb")
  if not file then return nil, "cannot read the log: " .. cause end
  file:close()
  local format = FORMATS[path:match "%.(%a+)$"] or "stderr"
  local out, waiting, at = memory(), {}, 1
  local object
  object, cause = tail.server_log {
    path = path, format = format, log_line_prefix = format == "stderr" and prefix or nil, timezone = "UTC", to = out,
    poll = "50ms", grace = "200ms",
    envelope = { host = "", port = 0, database = "", environment = "", tags = {} },
  }
  if not object then return nil, cause end
  local quiet_since = sys.monotonic()
  local function more()
    local outcome = assert(object:turn())
    waiting, at = out:take(), 1
    if #waiting > 0 then quiet_since = sys.monotonic() end
    if #waiting > 0 or outcome ~= "wait" then return true end
    local progress = object.follower:progress()
    -- A last line without its end is handed out, and never acknowledged.
    if progress.acknowledged >= progress.size or sys.monotonic() - quiet_since > QUIET then return false end
    task.wait(object.follower.core, 0.1)
    return true
  end
  return function()
    while true do
      while at <= #waiting do
        local record = record_of(waiting[at].value)
        at = at + 1
        if record then return record end
      end
      if not more() then
        object:close()
        return nil
      end
    end
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
      local record = record_of(message.value)
      if record then return record end
    end
  end
end

return M
