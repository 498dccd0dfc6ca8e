--- How far behind its position a server's log is, told from outside: while another dbobs may be following it, without
--- its lock and without touching anything.
local cjson = require "cjson"
local core = require "dbobs.core.tail"
local lfs = require "lfs"
local log_progress = require "dbobs.log_progress"
local record = require "dbobs.core.record"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- How long the first record that is not acknowledged is looked for, in seconds: it may be in a compressed file.
local PATIENCE = 5

--- The positions of a checkpoint file, as it is now.
---@param path string
---@return string text "" when there is none yet
function M.of_checkpoint(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

-- Days from 1970-01-01 to a date.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

-- Seconds since 1970 of an event's timestamp.
local function seconds_of(timestamp)
  local year, month, day, hour, minute, second = timestamp:match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$"
  if not year then return nil end
  return days(tonumber(year), tonumber(month), tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
end

-- How old the first record is that is not acknowledged: by its own time, else by the last write to its file.
local function age(object, parser)
  local late = sys.monotonic() + PATIENCE
  local json, path = object:peek(parser)
  while not json and sys.monotonic() < late do
    -- A first start waits until its positions are kept, which they need not be here.
    object:positions()
    object:kept()
    task.wait(nil, 0.02)
    json, path = object:peek(parser)
  end
  if not json then return nil end
  local undated, _, unparsed = parser:problems()
  local written
  if undated == 0 and unparsed == 0 then written = seconds_of(cjson.decode(json).timestamp) end
  written = written or lfs.attributes(path, "modification")
  return written and math.max(sys.wall() / 1e6 - written, 0)
end

local function notes_of(object)
  local notes = {}
  for note in function() return object:note() end do notes[#notes + 1] = note end
  return notes
end

--- What is to be said of a log: "postgresql.json: 12.4 MB behind (3 min 20 s), 2 files". The time is the age
--- of the oldest record that is not acknowledged.
---@param given {path: string, suffix: string|nil, positions: string, format: string, log_timezone: string,
---  log_line_prefix: string|nil, sql: dbobs.log_sql|nil} positions: what a follower keeps, "" before the first start;
---  sql: what the log is read through
---@return string|nil text, string|nil problem what is wrong
function M.describe(given)
  local object, cause = core.open { path = given.path, suffix = given.suffix, positions = given.positions,
    remote = given.sql ~= nil }
  if not object then return nil, cause end
  local how = ""
  if given.sql then
    how, cause = given.sql:peek(object)
    if not how then
      object:close()
      return nil, cause
    end
  end
  local problem, _, unreadable = object:conditions()
  local size, acknowledged, files, _, _, _, at_risk = object:progress()
  local lost = notes_of(object)
  local left, old = math.max(size - acknowledged, 0), nil
  if left > 0 and not problem then
    local parser = assert(core.pglog(record.writer { data_type = "log", host = "", port = 0, database = "",
      environment = "", tags = {} }, given.log_timezone, given.format, given.log_line_prefix))
    old = age(object, parser)
  end
  object:close()
  if problem or unreadable then return nil, problem or unreadable end
  if #lost > 0 then return nil, table.concat(lost, "; ") end
  return ("%s%s: %s, %d file%s%s"):format(given.path, how,
    left == 0 and "nothing behind" or ("%s behind%s"):format(log_progress.size(left),
      old and (" (%s)"):format(log_progress.duration(old)) or ""),
    files, files == 1 and "" or "s", given.positions == "" and ", read from the beginning at the first start"
      or at_risk > 0 and (", %s of it in rotated files, lost if they are removed"):format(log_progress.size(at_risk))
      or "")
end

return M
