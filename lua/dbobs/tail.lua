--- Following files: line by line in a script, or as server log events straight to a topic. A position is kept in a
--- checkpoint file, over rotations of every kind and over restarts, and moves only behind what was handled.
---   for line, at in dbobs.tail { path = "/var/log/app.log", checkpoint = "app.position" } do ... end
local core = require "dbobs.core.tail"
local counters = require "dbobs.counters"
local exactly_once = require "dbobs.tail_exactly_once"
local log = require "dbobs.log"
local options = require "dbobs.options"
local record = require "dbobs.core.record"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local OPTIONS = {
  path = "string", checkpoint = "string", from = { one = { "beginning", "end" } }, since = "number",
  poll = "duration", grace = "duration",
}

local FIRST_PAUSE, LONGEST_PAUSE = 1, 60

-- How often a server log looks around while nothing comes, in seconds.
local LOOK = 5

---@class dbobs.follower a file, or several, read as they grow: `for line, at in follower do`
local follower = {}
follower.__index = follower

local function check(given, known, what)
  options.check(given, known, what, 3)
  for _, name in ipairs { "path", "checkpoint" } do
    if given[name] == "" then error(("%s: option '%s' is empty"):format(what, name), 3) end
  end
  if not given.path then error(what .. ": option 'path' is missing: the file, or a pattern like /var/log/*.json", 3) end
end

local function open(given, fields, look_every)
  local object, cause, in_use = core.open(given)
  if not object then return nil, cause, in_use end
  fields = fields or {}
  fields.path = given.path
  return setmetatable({ core = object, fields = fields, failures = 0, told = {},
    look_every = look_every, source = given.sql }, follower)
end

-- What brings the bytes of a log that is not read from files here begins with the first look.
local function start_source(self)
  self.started = self.source
  self.source:start(self.core, function(problem) self:tell("source", problem) end)
end

--- Tells a condition when it begins, changes and ends.
---@package
function follower:tell(name, text)
  local key = ("tail/%s/%s/%s"):format(name, self.fields.target or "", self.fields.path)
  if self.told[name] and self.told[name] ~= text then log.condition(key, false, "warn", "") end
  if text then log.condition(key, true, "warn", text, self.fields) end
  self.told[name] = text
end

--- Takes in what happened since: deliveries, events, conditions. After a failed delivery it waits a little, and reading
--- has gone back to the checkpoint.
---@package
function follower:attend()
  if self.source and not self.started then start_source(self) end
  local delivered, cause = self.core:acknowledge()
  for note in function() return self.core:note() end do log.warn(note, self.fields) end
  local path, checkpoint, read = self.core:conditions()
  self:tell("path", path)
  self:tell("checkpoint", checkpoint)
  self:tell("read", read)
  if delivered then
    if self.failures > 0 and self:progress().in_flight == 0 then self.failures = 0 end
    return
  end
  self.failures = self.failures + 1
  local pause = math.min(FIRST_PAUSE * 2 ^ math.min(self.failures - 1, 10), LONGEST_PAUSE)
  log.error("lines were not delivered: reading goes back to the checkpoint and sends them again", {
    path = self.fields.path, target = self.fields.target, error = cause, again_in = ("%.0fs"):format(pause) })
  task.wait(nil, pause)
end

--- The next line, waiting for it. Asking for it says that the lines before are handled: at once, or when the records
--- that were sent with their batch are acknowledged.
---@return string line without its newline
---@return {path: string, offset: number, uid: string, dropped: number} at where the line stood; uid stays the same in
--- every redelivery; dropped: bytes of a line above 6 MiB that were left out
function follower:next()
  self.core:commit(self.current_batch)
  self.current_batch = nil
  while true do
    self:attend()
    local line, path, offset, first_line, truncations, dropped = self.core:next()
    if line then
      local uid = ("%s.%d:%d"):format(first_line, truncations, offset)
      return line, { path = path, offset = offset, uid = uid, dropped = dropped }
    end
    self.core:commit()
    task.wait(self.core)
  end
end

--- `for line, at in follower do`
---@package
function follower:__call()
  return self:next()
end

--- A batch for the records of the line at hand: sent with it, they hold the checkpoint back until they are delivered.
---@return dbobs.batch batch
function follower:batch()
  self.current_batch = self.current_batch or sink.batch()
  return self.current_batch
end

--- How soon somebody must look again although nothing comes, in seconds; nil: there is no need.
---@return number|nil
---@package
function follower:look_within()
  if not self.look_every then return self.look_in end
  return math.min(self.look_every, self.look_in or self.look_every)
end

--- How far it is.
---@return {size: number, acknowledged: number, files: integer, in_flight: integer, saved: boolean, delivered: number,
---  at_risk: number} in bytes; delivered: acknowledged since it began; at_risk: not acknowledged of files that are
--- rotated, lost when they are removed and dbobs ends
function follower:progress()
  local size, acknowledged, files, in_flight, saved, delivered, at_risk = self.core:progress()
  return { size = size, acknowledged = acknowledged, files = files, in_flight = in_flight, saved = saved,
    delivered = delivered, at_risk = at_risk }
end

--- Waits until all that was handed out is acknowledged and in the checkpoint file. Says that the last line is handled.
function follower:flush()
  self.core:commit(self.current_batch)
  self.current_batch = nil
  repeat
    self:attend()
    local progress = self:progress()
    local done = progress.in_flight == 0 and progress.saved
    if not done then task.wait(self.core, 1) end
  until done
end

--- Whether all was read that there was at the last look.
---@return boolean
function follower:is_caught_up()
  return self:progress().in_flight == 0 and (not self.source or self.source.idle)
end

--- Nothing more is read; what was handed out can still be acknowledged.
function follower:leave()
  if self.started then self.started:stop() end
  self.started, self.source = nil, nil
  self.core:leave()
end

--- Writes the checkpoint once more and lets the files go.
function follower:close()
  if self.started then self.started:stop() end
  self.started, self.source = nil, nil
  self.core:close()
end

setmetatable(M, {
  --- Follows a file, or the files of a directory or that a pattern matches. What is compressed is read only where it
  --- is the rest of a log that was rotated while nobody read it.
  ---@param given {path: string, checkpoint: string|nil, from: string|nil, since: number|nil, poll: string|nil,
  --- grace: string|nil}
  --- without checkpoint the position is forgotten; from: where files begin that are there at the first start; since:
  --- microseconds since 1970, files of unknown position that were last written before begin at their end; poll: how
  --- often to look where the system tells nothing; grace: how long a rotated file is read on
  ---@return dbobs.follower|nil, string|nil error
  __call = function(_, given)
    check(given, OPTIONS, "dbobs.tail")
    return open(given)
  end,
})

local LOG_OPTIONS = {
  path = "string", checkpoint = "string", from = OPTIONS.from, since = "number", poll = "duration", grace = "duration",
  finish = "function", progress = "table",
  timezone = "string", envelope = "table", to = "any", fields = "table", count = "function",
  format = { one = { "jsonlog", "csvlog", "stderr" } }, log_line_prefix = "string",
  delivery = { one = { "at_least_once", "exactly_once" } }, position = "string",
  filter = "table", event = "function", sql = "table",
}

local function parser_of(given)
  local envelope = { data_type = "log" }
  for name, value in pairs(given.envelope) do envelope[name] = value end
  local parser, cause = core.pglog(record.writer(envelope), given.timezone, given.format, given.log_line_prefix)
  if parser and given.filter then parser:filter(given.filter) end
  return parser, cause
end

-- What to look at when pieces of a file are no records of its format.
local IS_IT = {
  jsonlog = "a line of the server's log is no JSON object and is sent as text: is the file written with "
    .. "log_destination = 'jsonlog'?",
  csvlog = "a part of the server's log is no csvlog record and is sent as text: is the file written with "
    .. "log_destination = 'csvlog'?",
  stderr = "a line of the server's log does not begin with log_line_prefix and is sent as text: it was written by "
    .. "another program, or the target's log_line_prefix is not the server's",
}

-- How long after the last dropped event it is told how many there were, in seconds; see src/pglog_filter.c.
local TELL_DROPPED = 10

-- What of the given function was told last is over when it has worked for so long, in seconds.
local FUNCTION_SETTLED = 60

-- Tells what the pipeline's function raised; the events went out as they were.
local function tell_failures(self)
  local failures, cause = self.core:failures()
  local now = sys.monotonic()
  if failures > 0 then
    counters.add("logs", self.fields.target or self.fields.path, "function_errors", failures)
    self.failed_at = now
    self:tell("function", "the function 'event' of the pipeline fails, its events are sent unchanged: " .. cause)
  elseif self.failed_at and now - self.failed_at > FUNCTION_SETTLED then
    self.failed_at = nil
    self:tell("function", nil)
  end
end

-- Says when a line's time cannot be told, when events are dropped for the rate, and once when the file seems to be of
-- another format.
local function tell_problems(self, parser, format)
  local undated, example, unparsed, dropping = parser:problems()
  self.look_in = dropping > 0 and TELL_DROPPED or nil
  tell_failures(self)
  self:tell("rate", dropping > 0 and "more events come than option 'rate' lets pass: the rest is dropped, and an event "
    .. "tells how many" or nil)
  if unparsed > 0 and not self.told_unparsed then
    self.told_unparsed = true
    log.warn(IS_IT[format or "jsonlog"], self.fields)
  end
  self:tell("time", undated > 0 and (
    "cannot tell the instant of log lines with a time like '%s', they are dated by when they "
    .. "were read: set log_timezone of the target to the server's log_timezone"):format(example) or nil)
end

-- How the logs of a format end in a directory where a server writes several: see log_destination of PostgreSQL.
local SUFFIX = { jsonlog = ".json", csvlog = ".csv", stderr = "" }

--- How names of files of a format end in a directory of logs; see core's open.
---@param format "jsonlog"|"csvlog"|"stderr"
---@return string
function M.suffix(format)
  return SUFFIX[format]
end

--- Whether instants in a zone can be told.
---@param zone string like "Europe/Berlin"
---@return boolean|nil ok, string|nil problem
function M.check_zone(zone)
  local parser, cause = core.pglog(record.writer { data_type = "log", host = "", port = 0, database = "",
    environment = "", tags = {} }, zone)
  if not parser then return nil, cause end
  return true
end

-- Followers whose task was ended: what they sent may still be delivered, before the end or before another follower
-- takes over, and counts for the checkpoint that is written then. Their tasks, by checkpoint file.
local draining = {}

---@class dbobs.server_log a server's log that is sent as it is written
local server_log = {}
server_log.__index = server_log

-- Raises at the line of who called server_log.
local function check_exactly_once(given)
  if type(given.to) ~= "table" or not given.to.commit then
    error('dbobs.tail.server_log: with delivery = "exactly_once" option \'to\' must be one of kafka:exactly_once', 4)
  end
  if (given.position or "") == "" then
    error('dbobs.tail.server_log: with delivery = "exactly_once" option \'position\' is missing: the key of its '
      .. "position, like \"orders.logs\"", 4)
  end
end

--- For how many seconds a follower waits for the checkpoint of a process that is ending, before it says that two use
--- the same.
---@package
M.HANDOVER = 10

local function open_in_turn(file, fields, look_every)
  local late = sys.monotonic() + M.HANDOVER
  while true do
    local object, cause, in_use = open(file, fields, look_every)
    if object or not in_use or sys.monotonic() >= late then return object, cause, in_use end
    task.wait(nil, 0.2)
  end
end

local function follow_exactly_once(given, parser)
  check_exactly_once(given)
  return exactly_once.new(given, parser, function(positions)
    local file = { positions = positions, suffix = SUFFIX[given.format or "jsonlog"], sql = given.sql,
      remote = given.sql ~= nil }
    for name in pairs(OPTIONS) do file[name] = name ~= "checkpoint" and given[name] or nil end
    return open(file, given.fields, (given.finish or given.progress) and LOOK)
  end, function(object) tell_problems(object, parser, given.format) end)
end

--- Follows a PostgreSQL server log: each record of it becomes one of raw-logs. Of a directory only the files of the
--- format are read: .json, .csv, or for stderr all others. What a file ends in without a newline is sent as it is when
--- nobody completes it for `grace`; once it is completed the whole record is sent as well. With exactly_once it is
--- only sent whole, or when its file was rotated.
---@param given table path, checkpoint, from, since, poll, grace as with dbobs.tail; format ("jsonlog" by default,
--- "csvlog" or "stderr", also as a container runtime stores it) and for stderr the server's log_line_prefix; envelope
--- (run:envelope()); timezone (the server's log_timezone); to (the topic); count(lines) is called
--- with the lines sent; fields for our own log; filter: what dbobs.log_filter makes of the collector's options; event:
--- a function that sees each record, see pipelines/collectors/logs.lua. delivery = "exactly_once": `to` is one of
--- kafka:exactly_once, and the position is kept in Kafka under the key `position`; waits until it is known. A
--- checkpoint file that is there then says where the very first start begins, and is not written.
--- finish: is asked now and then when all is read and acknowledged: true ends run. progress: one of dbobs.log_progress.
--- sql: a dbobs.log_sql that the log is read through; path is only what it is called then.
---@return dbobs.server_log|dbobs.server_log.exactly_once|nil, string|nil error
---@return boolean|nil final it is no use to try again
function M.server_log(given)
  check(given, LOG_OPTIONS, "dbobs.tail.server_log")
  local parser, cause = parser_of(given)
  if not parser then return nil, cause end
  local checkpoint = given.checkpoint or given.path
  if draining[checkpoint] then task.join(draining[checkpoint]) end
  if given.delivery == "exactly_once" then return follow_exactly_once(given, parser) end
  local file = { suffix = SUFFIX[given.format or "jsonlog"], half_lines = true, sql = given.sql,
    remote = given.sql ~= nil }
  for name in pairs(OPTIONS) do file[name] = given[name] end
  local object, in_use
  object, cause, in_use = open_in_turn(file, given.fields, (given.finish or given.progress) and LOOK)
  if not object then return nil, cause, in_use end
  return setmetatable({ follower = object, parser = parser, to = given.to, count = given.count,
    checkpoint = checkpoint, format = given.format, event = given.event, finish = given.finish,
    progress = given.progress }, server_log)
end

--- One turn: sends what there is, up to some megabytes, or until the topic is full.
---@return "more"|"wait"|"full"|nil outcome wait: all was sent; nil with the error when the topic refuses a record
---@return string|number lines
function server_log:turn()
  self.follower:attend()
  local outcome, lines = self.follower.core:pump(self.parser, self.to, self.event)
  if outcome and lines > 0 and self.count then self.count(lines) end
  tell_problems(self.follower, self.parser, self.format)
  if self.progress then self.progress:look(self.follower) end
  return outcome, lines
end

local function send_all(self)
  while true do
    local outcome, cause = self:turn()
    if not outcome then return nil, cause end
    if outcome == "wait" and self.finish and self.finish() and self.follower:is_caught_up() then
      return true
    end
    if outcome == "wait" then task.wait(self.follower.core, self.follower:look_within())
    elseif outcome == "full" then task.wait(self.to, 10)
    else task.wait(nil, 0) end
  end
end

-- Whether all that was sent is acknowledged and in the checkpoint file, or will not be.
local function is_drained(follower_of_log)
  if not follower_of_log.core:acknowledge() then return true end
  local progress = follower_of_log:progress()
  local _, unwritable = follower_of_log.core:conditions()
  return progress.in_flight == 0 and (progress.saved or unwritable ~= nil)
end

local function drain(self)
  while not is_drained(self.follower) do task.wait(self.follower.core, 1) end
  self:close()
  draining[self.checkpoint] = nil
end

--- Sends lines as they come, until it is cancelled, fails or is to finish; it is closed then, or when what it sent is
--- delivered.
---@return true|nil finished, string|nil error when the topic refuses a record
function server_log:run()
  local ok, result, cause = pcall(send_all, self)
  self.follower:leave()
  if is_drained(self.follower) then self:close() else draining[self.checkpoint] = task.background(drain, self) end
  if not ok then error(result, 0) end
  return result, cause
end

--- Waits until what was sent is acknowledged and in the checkpoint file.
function server_log:flush()
  self.follower:flush()
end

--- Writes the checkpoint once more and lets the files go.
function server_log:close()
  self.follower:close()
end

return M
