--- Where and how a server writes its log: as the target says, else as the server says, else as it said last time. Asked
--- again while the log is read, for settings change.
local cjson = require "cjson"
local lfs = require "lfs"
local log = require "dbobs.log"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- How often the server is asked whether its settings are still the same, in seconds.
M.ask_every = 60

-- A view, because it leaves out what the role may not see instead of failing.
local SQL = [[
  select name, setting from pg_settings
  where name in ('log_destination', 'logging_collector', 'log_directory', 'log_filename', 'data_directory',
    'log_timezone', 'log_line_prefix', 'lc_messages')]]

-- The best to read first. What the server puts in the place of ".log" at the end of log_filename, or behind it.
local FORMATS = { "jsonlog", "csvlog", "stderr" }
local SUFFIX = { jsonlog = ".json", csvlog = ".csv" }
-- What is read over SQL by a role that may not see log_filename.
local USUAL = { jsonlog = "*.json", csvlog = "*.csv", stderr = "*.log" }

-- What the escapes of log_filename become: names of the same length, so that no other format's suffix fits in.
local ESCAPES = {
  Y = "????", C = "??", y = "??", m = "??", d = "??", e = "??", H = "??", I = "??", M = "??", S = "??", j = "???",
  a = "???", b = "???", h = "???", p = "??", U = "??", V = "??", W = "??", g = "??", G = "????", u = "?", w = "?",
  F = "????-??-??", D = "??/??/??", T = "??:??:??", R = "??:??", n = "\n", t = "\t", ["%"] = "%",
}

--- A pattern for the names that a server gives its log files.
---@param log_filename string the server's setting
---@param format "jsonlog"|"csvlog"|"stderr"
---@return string glob
function M.pattern(log_filename, format)
  local suffix = SUFFIX[format]
  if suffix then log_filename = log_filename:gsub("(.)%.log$", "%1") .. suffix end
  local literal = log_filename:gsub("[%[%*%?]", "[%0]")
  return (literal:gsub("%%[EO]?(.?)", function(letter) return ESCAPES[letter] or "*" end))
end

--- How a target's log is read.
---@param target table its options
---@return "file"|"sql"|nil source nil: not at all
function M.source(target)
  return target.log_source or target.log_file and "file" or nil
end

--- What the server says now of its log.
---@param run dbobs.run
---@return table<string, string>|nil settings by name; those that the role may not see are missing
---@return string|nil cause
function M.ask(run)
  local server = {}
  local failures, cause = run:snapshot(nil, {
    {
      name = "log settings",
      sql = SQL,
      each = function(rows)
        for _, row in ipairs(rows:rows()) do server[row.name] = row.setting end
      end,
    },
  })
  local failure = failures and failures["log settings"]
  if failure or not failures then return nil, failure and failure.message or tostring(cause) end
  return server
end

-- Beside the checkpoint.
local function kept_path(run)
  return (run:checkpoint():gsub("%.json$", "") .. ".settings.json")
end

local function read_kept(run)
  local file = io.open(kept_path(run), "rb")
  if not file then return nil end
  local ok, server = pcall(cjson.decode, file:read "*a")
  file:close()
  if not ok or type(server) ~= "table" then return nil end
  for name, value in pairs(server) do
    if type(name) ~= "string" or type(value) ~= "string" then return nil end
  end
  return server
end

-- What cannot be kept is only missed when the server is down at a later start.
local function keep(run, server)
  local path = kept_path(run)
  for at in path:gmatch "()/" do
    if at > 1 then lfs.mkdir(path:sub(1, at - 1)) end
  end
  local file = io.open(path .. ".part", "wb")
  if not file then return end
  local written = file:write(cjson.encode(server))
  if file:close() and written then os.rename(path .. ".part", path) end
end

local function destinations(server)
  local enabled = {}
  for name in (server.log_destination or ""):lower():gmatch "[%w_]+" do enabled[name] = true end
  return enabled
end

-- The format that is read of those that the server writes.
local function server_format(server)
  local enabled = destinations(server)
  for _, format in ipairs(FORMATS) do
    if enabled[format] then return format end
  end
  return nil, ("log_destination is '%s', which makes no file: set log_destination = 'jsonlog' ('csvlog' before "
    .. "PostgreSQL 15) and logging_collector = on"):format(server.log_destination or "")
end

-- Directory and name pattern as the server knows them, format; or what to do so that there is something to follow.
local function server_files(run, server)
  local target = run.target.options
  if target.log_queries then return { format = target.log_format or server_format(server) or "stderr" } end
  if server.logging_collector ~= "on" then
    return nil, "logging_collector is off, so the server writes no log files of its own: set logging_collector = on "
      .. "and log_destination = 'jsonlog' ('csvlog' before PostgreSQL 15) and restart it, or give the target the "
      .. "log_file that its output goes to"
  end
  local format, problem = target.log_format, nil
  if not format then format, problem = server_format(server) end
  if not format then return nil, problem end
  if M.source(target) == "sql" then
    local name = server.log_filename
    return { format = format, pattern = name and M.pattern(name, format) or USUAL[format] }
  end
  if not server.log_filename or not server.log_directory then
    return nil, ("the role may not see log_directory: GRANT pg_monitor TO %s, or give the target a log_file"):format(
      run.target.user or "it")
  end
  local directory = server.log_directory
  if directory:sub(1, 1) ~= "/" then directory = ("%s/%s"):format(server.data_directory or "", directory) end
  return { directory = directory, pattern = M.pattern(server.log_filename, format), format = format }
end

-- How a given file is written, as its name tells.
local function format_by_name(path)
  return path:find "%.json" and "jsonlog" or path:find "%.csv" and "csvlog" or "stderr"
end

-- The settings that hold, of target and server (nil: of the target alone); or nil, which of them is missing, or what
-- else is wrong.
local function combine(run, server)
  local target = run.target.options
  local settings = {
    source = M.source(target), server = server or {},
    log_timezone = target.log_timezone or server and server.log_timezone,
    log_line_prefix = target.log_line_prefix or server and server.log_line_prefix,
  }
  if settings.source == "file" and target.log_file then
    settings.path, settings.format = target.log_file, target.log_format or format_by_name(target.log_file)
  elseif not server then
    return nil, "log_directory"
  else
    local files, problem = server_files(run, server)
    if not files then return nil, nil, problem end
    settings.directory, settings.pattern, settings.format = files.directory, files.pattern, files.format
    if settings.source == "file" then
      local directory = target.log_directory or files.directory:gsub("[%[%*%?]", "[%0]")
      settings.path = ("%s/%s"):format(directory, files.pattern)
    end
  end
  if not settings.log_timezone then return nil, "log_timezone" end
  if settings.format == "stderr" and not settings.log_line_prefix then return nil, "log_line_prefix" end
  return settings
end

--- The settings with which a target's log is read now. The target's own win. When the server does not answer, those
--- hold that it gave last time, also in an earlier run.
---@param run dbobs.run
---@return {source: "file"|"sql", path: string|nil, format: string, log_timezone: string, log_line_prefix: string|nil,
---  directory: string|nil, pattern: string|nil, server: table<string, string>}|false|nil settings false: no log of the
--- target is read. path: of a file, or a pattern, for source "file"; directory, pattern: the server's own, when they
--- were asked; server: what it said
---@return string|nil cause when it cannot be read, and what to do
function M.resolve(run)
  if not M.source(run.target.options) then return false end
  local settings = combine(run)
  if settings then return settings end
  local server, cause = M.ask(run)
  local last = run.state.log_settings
  if server and next(server) then
    run.state.log_settings = server
  else
    server = last or read_kept(run)
  end
  local missing, problem
  settings, missing, problem = combine(run, server)
  if settings then return settings end
  return nil, problem or ("the log is read when the server has told its %s (or give the target one): %s"):format(
    missing == "log_directory" and "log_directory and log_filename" or missing, tostring(cause))
end

local COMPARED = { "path", "directory", "pattern", "format", "log_timezone", "log_line_prefix" }

local function differs(a, b)
  for _, name in ipairs(COMPARED) do
    local counts = name ~= "log_line_prefix" or a.format == "stderr" or b.format == "stderr"
    if counts and a[name] ~= b[name] then return true end
  end
  return false
end

---@class dbobs.log_settings.watch
---@field changed table|nil the settings that hold now, when they are others
local watch = {}
watch.__index = watch

local function look(self)
  local server = M.ask(self.run)
  if not server or not next(server) then return end -- the collector tells that the server does not answer
  local settings, _, problem = combine(self.run, server)
  self.run:tell("the server's log is not written where it is read any more", problem ~= nil, problem)
  if not settings then return end
  self.run.state.log_settings = server
  if not differs(settings, self.settings) then
    self.seen = sys.wall()
    return
  end
  log.info("the server's log settings changed: what is left of the log as it was is read first", {
    target = self.run.target.name, path = settings.path or settings.directory, format = settings.format,
    log_timezone = settings.log_timezone })
  settings.since = settings.format ~= self.settings.format and self.seen or nil
  keep(self.run, server)
  self.changed = settings
end

--- Asks the server every minute whether the settings still hold, and keeps them for a start at which it is down.
--- Settings that are all the target's own are not watched.
---@param run dbobs.run
---@param settings table as of resolve
---@return dbobs.log_settings.watch
function M.watch(run, settings)
  local self = setmetatable({ run = run, settings = settings, seen = sys.wall() }, watch)
  if not next(settings.server) then return self end
  keep(run, settings.server)
  self.task = task.background(function()
    while not self.changed do
      task.wait(nil, M.ask_every)
      look(self)
    end
  end)
  return self
end

--- Asks no more.
function watch:stop()
  if self.task then task.cancel(self.task) end
end

-- Whether texts that only their message tells are written in English.
local function is_english(lc_messages)
  local name = lc_messages:lower()
  return name == "" or name == "c" or name == "posix" or name:find "^c%." ~= nil or name:find "^en[_@%.]" ~= nil
    or name == "en"
end

--- What would make the log tell more.
---@param run dbobs.run
---@param settings table as of resolve; the server is asked where it was not
---@return string|nil advice
function M.advice(run, settings)
  local server = next(settings.server) and settings.server or M.ask(run) or {}
  local messages = server.lc_messages
  if not messages or is_english(messages) then return nil end
  return ("lc_messages is '%s': events that only their text tells (checkpoints, vacuum, lock waits, connections, "
    .. "temporary files, slow statements, plans) are recognised in English: ALTER SYSTEM SET lc_messages = 'C'"):format(
    messages)
end

return M
