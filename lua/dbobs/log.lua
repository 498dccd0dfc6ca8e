--- The log: one event a line on standard error; readable on a terminal, logfmt or JSON when asked (--log-format).
local cjson = require "cjson"
local sys = require "dbobs.core.sys"
local timer = require "dbobs.timer"

local M = {}

local LEVELS = { debug = 1, info = 2, warn = 3, error = 4 }
local COLOURS = { debug = "\27[2m", info = "", warn = "\27[33m", error = "\27[31m" }
-- A condition that lasts is told again this often.
local REMIND_SECONDS = 600

---@package
M.formats = { "text", "logfmt", "json" }
---@package
M.levels = { "debug", "info", "warn", "error" }

local settings = {
  format = "text",
  level = "info",
  colour = sys.is_terminal(2) and (os.getenv "NO_COLOR" or "") == "" and os.getenv "TERM" ~= "dumb",
  status = sys.is_terminal(2) and os.getenv "TERM" ~= "dumb",
}
--- The format of the log.
---@return "text"|"logfmt"|"json"
function M.format()
  return settings.format
end

-- The columns that the status line takes at present.
local status_width = 0

--- Sets what is given of format ("text" | "logfmt" | "json") and level ("debug" | "info" | "warn" | "error").
---@param given {format: string|nil, level: string|nil}
---@package
function M.configure(given)
  settings.format = given.format or settings.format
  settings.level = given.level or settings.level
end

--- How it is configured, for another thread's log.
---@return {format: string, level: string}
function M.configuration()
  return { format = settings.format, level = settings.level }
end

-- Names in the order in which a person reads them: where, then the rest.
local FIRST = { target = 1, name = 1, collector = 2, topic = 3, error = 8, traceback = 9 }

local function sorted_names(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    local x, y = FIRST[a] or 5, FIRST[b] or 5
    if x ~= y then return x < y end
    return a < b
  end)
  return names
end

local function quote(value)
  local text = tostring(value):gsub("%s*\n%s*", " | ")
  if text:find '[%s"=]' or text == "" then
    text = '"' .. text:gsub('[\\"]', "\\%0"):gsub("%c", " ") .. '"'
  end
  return text
end

local function pairs_text(fields)
  local parts = {}
  for _, name in ipairs(sorted_names(fields)) do
    parts[#parts + 1] = ("%s=%s"):format(name, quote(fields[name]))
  end
  return table.concat(parts, " ")
end

local writers = {}

function writers.text(level, message, fields)
  local time = timer.iso8601(sys.wall()):sub(1, 23):gsub("T", " ")
  local line = ("%s %-5s %s"):format(time, level:upper(), (message:gsub("%s*\n%s*", " | ")))
  if next(fields) then line = line .. "  " .. pairs_text(fields) end
  if settings.colour and COLOURS[level] ~= "" then line = COLOURS[level] .. line .. "\27[0m" end
  return line
end

function writers.logfmt(level, message, fields)
  local head = ("time=%s level=%s msg=%s"):format(timer.iso8601(sys.wall()), level, quote(message))
  return next(fields) and head .. " " .. pairs_text(fields) or head
end

function writers.json(level, message, fields)
  local object = {}
  for name, value in pairs(fields) do
    object[name] = type(value) == "number" and value or tostring(value)
  end
  object.time, object.level, object.msg = timer.iso8601(sys.wall()), level, message
  return cjson.encode(object)
end

local function clear_status()
  if status_width == 0 then return "" end
  local blank = "\r" .. (" "):rep(status_width) .. "\r"
  status_width = 0
  return blank
end

--- Whether there is a terminal on which a line can be written again and again.
---@return boolean
---@package
function M.has_status()
  return settings.status and settings.format == "text"
end

--- Writes the line that stands below the log while something lasts, in the place of the one before; it must be written
--- again from time to time, for an event of the log takes its place.
---@param text string|nil nil: nothing lasts
---@package
function M.status(text)
  if not M.has_status() then return end
  local before = clear_status()
  text = text and text:sub(1, sys.columns(2) - 1) or ""
  -- What writes to the terminal without us begins at the left then.
  if text ~= "" then text = text .. "\r" end
  status_width = math.max(#text - 1, 0)
  if before .. text ~= "" then sys.log(before .. text) end
end

--- Takes the status line away, before something is printed on standard output.
---@package
function M.clear_status()
  local blank = clear_status()
  if blank ~= "" then sys.log(blank) end
end

local before_event, after_event

--- What is to be done before and after each event is written: by a prompt that stands on the terminal.
---@param before fun()|nil
---@param after fun()|nil
---@package
function M.around(before, after)
  before_event, after_event = before, after
end

--- Writes one event.
---@param level "debug"|"info"|"warn"|"error"
---@param message string
---@param fields table<string, string|number>|nil
function M.event(level, message, fields)
  if LEVELS[level] < LEVELS[settings.level] then return end
  if before_event then before_event() end
  sys.log(clear_status() .. writers[settings.format](level, message, fields or {}) .. "\n")
  if after_event then after_event() end
end

--- Writes what only somebody who looks for a fault wants to know.
---@param message string
---@param fields table<string, string|number>|nil
function M.debug(message, fields) M.event("debug", message, fields) end

--- Writes what is worth knowing.
---@param message string
---@param fields table<string, string|number>|nil
function M.info(message, fields) M.event("info", message, fields) end

--- Writes what somebody should look at.
---@param message string
---@param fields table<string, string|number>|nil
function M.warn(message, fields) M.event("warn", message, fields) end

--- Writes what failed.
---@param message string
---@param fields table<string, string|number>|nil
function M.error(message, fields) M.event("error", message, fields) end

local conditions = {}

local function with_age(fields, since)
  local copy = {}
  for name, value in pairs(fields or {}) do copy[name] = value end
  copy.lasts = ("%.0fs"):format(sys.monotonic() - since)
  return copy
end

--- Tells a condition that lasts: when it begins, rarely while it lasts, and when it ends. Call it at each look.
---@param key string identity of the condition, like "unreachable/main"
---@param active boolean whether it holds now
---@param level "info"|"warn"|"error" of its beginning
---@param message string what holds
---@param fields table<string, string|number>|nil
function M.condition(key, active, level, message, fields)
  local now, known = sys.monotonic(), conditions[key]
  if active and not known then
    conditions[key] = { key = key, level = level, since = now, told = now, message = message, fields = fields }
    M.event(level, message, fields)
  elseif active and now - known.told >= REMIND_SECONDS then
    known.told = now
    M.event(level, "still: " .. message, with_age(fields, known.since))
  elseif not active and known then
    conditions[key] = nil
    M.event("info", "over: " .. known.message, with_age(known.fields, known.since))
  end
end

--- What lasts now, the longest first.
---@return {key: string, level: string, message: string, fields: table|nil, since: number}[] since: sys.monotonic()
---@package
function M.conditions()
  local list = {}
  for _, known in pairs(conditions) do list[#list + 1] = known end
  table.sort(list, function(a, b)
    if a.since ~= b.since then return a.since < b.since end
    return a.key < b.key
  end)
  return list
end

--- Forgets the conditions of a target that is no more: they are neither told as over nor again.
---@param target string the field `target` of their fields
---@package
function M.forget(target)
  for key, known in pairs(conditions) do
    if known.fields and known.fields.target == target then conditions[key] = nil end
  end
end

return M
