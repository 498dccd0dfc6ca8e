--- OpenTelemetry metrics: from rows and values to records of OTLP protobuf, and back to JSON and text.
local core = require "dbobs.core.otlp"
local decode = require "dbobs.core.decode"
local task = require "dbobs.task"

local M = {}

---@class dbobs.otlp.metric
---@field name string
---@field unit string|nil
---@field description string|nil
---@field kind "gauge"|"sum"|"counter" a sum goes up and down, a counter only up; both are cumulative
---@field type "int"|"double"|nil "int" by default

---@class dbobs.otlp.options
---@field scope string
---@field scope_version string|nil
---@field key string of the records
---@field time number microseconds since 1970, of every point
---@field sink dbobs.sink where the records go
---@field batch dbobs.batch|nil
---@field series dbobs.otlp.series|nil the store of start times
---@field resource (string|number)[][]|nil attributes of every resource, { { name, value }, ... }

---@class dbobs.otlp.record
---@field topic string
---@field key string|nil
---@field value string|nil
---@field otlp boolean|nil the value is known to be OTLP
---@field partition integer|nil
---@field offset integer|nil
---@field timestamp integer|nil milliseconds since 1970

---@class dbobs.otlp.series start times, one for each series
---@field forget fun(self: dbobs.otlp.series, time: number) drops what was last seen before
---@field count fun(self: dbobs.otlp.series): integer, integer how many series there are, and bytes

---@class dbobs.otlp.plan how rows become points, see dbobs.otlp.plan

---@class dbobs.otlp.request
local request = {}
request.__index = request

-- Calls a function of the core. What it raises is a misuse, told at `level`, counted as error does from here: TAIL when
-- the function that users call does so last and has left its frame, else DIRECT, or THROUGH when_there_is_room.
local DIRECT, TAIL, THROUGH = 3, 3, 4
local function checked(level, name, fn, ...)
  local ok, result, cause = pcall(fn, ...)
  if ok then return result, cause end
  error(("otlp.%s: %s"):format(name, (tostring(result):gsub("^bad argument #%d+ to '.-' %((.*)%)$", "%1"))), level)
end

-- Calls a method of the core that answers false while the sink has no room.
local function when_there_is_room(self, level, method, chunk, plan)
  local again = false
  while true do
    local ok, cause = checked(level, method, self.core[method], self.core, chunk, plan, again)
    if ok == nil then self.lost = self.lost or cause end
    if ok ~= false then return ok, cause end
    task.wait(self.sink)
    again = true
  end
end

--- A store of start times, one for each series of a target: keep it as long as you collect from that target.
---@return dbobs.otlp.series series
M.series = core.series

--- How rows become points. Columns are named as the query names them.
---   resource = { { attribute, column }, ... }   attributes of each row's resource
---   identity = { column, ... }                  tells series apart whose attributes are equal; not sent
---   reset    = column                           microseconds since the reset that covers exactly the row's counters;
---                                               NULL when unknown
---   points   = { { metric = {...}, column = "n", constants = { { attribute, text }, ... },
---                  columns = { { attribute, column }, ... } }, ... }
---@param plan {resource: string[][]|nil, identity: string[]|nil, reset: string|nil, points: table[]}
---@return dbobs.otlp.plan plan
function M.plan(plan)
  local made = checked(DIRECT, "plan", core.plan, plan)
  return made
end

--- A request: one or several records of the key, closed before they would be larger than the sink takes.
---@param options dbobs.otlp.options
---@return dbobs.otlp.request
function M.request(options)
  local made = checked(DIRECT, "request", core.request, options)
  return setmetatable({ core = made, sink = options.sink }, request)
end

--- Sends each row as a resource of its own. Waits while the sink has no room.
---@param chunk dbobs.chunk rows of a query
---@param plan dbobs.otlp.plan
---@return boolean|nil ok, string|nil error a record was lost
function request:rows(chunk, plan)
  local ended, lost = when_there_is_room(self, THROUGH, "end_resource")
  local ok, cause = when_there_is_room(self, THROUGH, "rows", chunk, plan)
  if not ended then return nil, lost end
  return ok, cause
end

--- Begins a resource, to which points are added; it ends with the next one, with rows or with finish.
---@param attributes string[][]|nil { { name, text }, ... } besides those of every resource
---@return boolean|nil ok, string|nil error a record was lost
function request:resource(attributes)
  local ok, cause = when_there_is_room(self, THROUGH, "end_resource")
  checked(DIRECT, "resource", self.core.begin, self.core, attributes)
  return ok, cause
end

--- Adds the points of all rows to the resource. When it grows as large as a record it is sent in parts; then this waits
--- while the sink has no room.
---@param chunk dbobs.chunk
---@param plan dbobs.otlp.plan whose `resource` and `identity` do not count here
---@return boolean|nil ok, string|nil error a record was lost
function request:points(chunk, plan)
  return when_there_is_room(self, TAIL, "points", chunk, plan)
end

--- Adds one point to the resource; may wait, as `points` does.
---@param metric dbobs.otlp.metric
---@param value number|string a text for integers beyond 2^53
---@param attributes string[][]|nil { { name, text }, ... }
---@return boolean|nil ok, string|nil error a record was lost
function request:point(metric, value, attributes)
  if checked(DIRECT, "point", self.core.point, self.core, metric, value, attributes) then
    return when_there_is_room(self, TAIL, "flush")
  end
  return true
end

--- Sends what has not been sent. Waits while the sink has no room.
---@return boolean|nil ok, string|nil error of the first record of the request that was lost
function request:finish()
  when_there_is_room(self, THROUGH, "end_resource")
  when_there_is_room(self, THROUGH, "finish")
  if self.lost then return nil, self.lost end
  return true
end

--- Drops what has not been sent.
function request:discard()
  self.core:discard()
end

--- How many resources, points and records there were so far, and values of rows that were no numbers.
---@return integer resources, integer points, integer records, integer unreadable, string|nil metric of the first
function request:counts()
  return self.core:counts()
end

--- A record's value as OTLP/JSON.
---@param value string
---@return string|nil json, string|nil error
M.decode = decode.json

--- A record's value as text: a line for each resource, and under it one for each point.
---@param value string
---@return string|nil text, string|nil error
M.text = decode.text

--- Any record for people or tools.
---@param record dbobs.otlp.record
---@param form "json"|"text"|"details"|nil a JSON object (the default), a readable line, or that line and every point
---@return string lines with their newline
M.format_record = decode.record

return M
