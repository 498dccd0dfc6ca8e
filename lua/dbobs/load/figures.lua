--- The figures of one thread: what its connections count, handed to the main thread once a tick and at the end.
local histogram = require "dbobs.core.histogram"

local record_since = histogram.record_since

local M = {}

local figures = {}
figures.__index = figures

--- @param events table[] the workload's
--- @param open boolean whether response times are counted from when events should have started
function M.new(events, open)
  local self = setmetatable({
    open = open, events = {}, tick = histogram.new(), tick_errors = {},
    not_started = 0, unfinished = 0, reconnects = 0, received = 0, sent = 0,
  }, figures)
  self.tick_at, self.count = self.tick:pointer(), figures.count -- found at once, not by way of the metatable
  for i, event in ipairs(events) do
    self.events[i] = {
      name = event.name, service = histogram.new(), response = open and histogram.new() or nil, retries = 0,
      errors = {}, messages = {}, failed = 0,
    }
    local event_figures = self.events[i]
    event_figures.service_at = event_figures.service:pointer()
    event_figures.response_at = open and event_figures.response:pointer()
  end
  return self
end

--- An event that has ended well, just now.
---@param index integer the event's
---@param due number when it should have started; `started` in a closed loop
---@param started number
---@return number now
function figures:count(index, due, started)
  local event = self.events[index]
  if not self.open then return record_since(started, event.service_at, self.tick_at) end
  record_since(due, event.response_at, self.tick_at)
  return record_since(started, event.service_at)
end

--- An event that has failed.
---@param failure {sqlstate: string, message: string}
function figures:fail(index, failure)
  local event, state = self.events[index], failure.sqlstate
  event.failed = event.failed + 1
  event.errors[state] = (event.errors[state] or 0) + 1
  event.messages[state] = event.messages[state] or failure.message
  self.tick_errors[state] = (self.tick_errors[state] or 0) + 1
end

--- What has come since the last tick.
function figures:take_tick()
  local tick = { times = self.tick:encode(), errors = self.tick_errors }
  self.tick:reset()
  self.tick_errors = {}
  return tick
end

--- All of it.
---@param statements table see dbobs.load.statements
function figures:all(statements)
  local all = {
    events = {}, statements = {}, not_started = self.not_started, unfinished = self.unfinished,
    reconnects = self.reconnects, received = self.received, sent = self.sent,
  }
  for i, event in ipairs(self.events) do
    all.events[i] = {
      name = event.name, service = event.service:encode(), response = event.response and event.response:encode(),
      retries = event.retries, errors = event.errors, messages = event.messages,
    }
  end
  for text, one in pairs(statements.by_text) do
    if one.histogram:count() > 0 or one.errors > 0 or one.piped > 0 then
      all.statements[text] = { times = one.histogram:encode(), errors = one.errors, piped = one.piped }
    end
  end
  return all
end

return M
