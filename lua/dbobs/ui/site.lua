--- What the topic monitor answers to requests: the page's files, and JSON for it.
local rows = require "dbobs.ui.rows"
local search = require "dbobs.ui.search"
local sys = require "dbobs.core.sys"

local M = {}

-- Searches at the same time; each holds a connection to the brokers and some memory.
local SEARCHES, LISTENERS = 6, 16

local TYPES = {
  html = "text/html; charset=utf-8",
  css = "text/css; charset=utf-8",
  js = "text/javascript; charset=utf-8",
  svg = "image/svg+xml",
}

-- The page loads nothing from elsewhere, runs no script but its own, and is shown in no other page.
local SECURITY = {
  ["content-security-policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    .. "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ["x-content-type-options"] = "nosniff",
  ["referrer-policy"] = "no-referrer",
  ["cross-origin-resource-policy"] = "same-origin",
  ["cache-control"] = "no-store",
}

---@return dbobs.http.answer
local function answer(status, kind, body)
  local headers = { ["content-type"] = kind }
  for name, value in pairs(SECURITY) do headers[name] = value end
  return { status = status, headers = headers, body = body }
end

local function json(value)
  return answer(200, "application/json", type(value) == "string" and value or rows.encode(value))
end

local function refuse(problem)
  return answer(problem.status, "application/json", rows.encode { error = problem.text })
end

-- ---- answers ---------------------------------------------------------------

---@class dbobs.ui.site
local site = {}
site.__index = site

--- The site of a monitor.
---@param monitor dbobs.ui.monitor
---@return dbobs.ui.site
function M.new(monitor)
  return setmetatable({ monitor = monitor, searches = 0, listeners = 0 }, site)
end

-- Counts what is under way; at most as many as the limit.
local function limited(self, what, limit, fn, ...)
  if self[what] >= limit then
    return refuse { status = 503, text = ("%d %s are under way already: try again in a moment"):format(limit, what) }
  end
  self[what] = self[what] + 1
  local ok, result = pcall(fn, ...)
  self[what] = self[what] - 1
  if not ok then error(result, 0) end
  return result
end

local function records(self, given)
  local page, problem = search.records(self.monitor, given)
  return page and json(page) or refuse(problem)
end

local function record(self, given)
  local message, problem = search.record(self.monitor, given)
  return message and json(rows.whole(message)) or refuse(problem)
end

-- A value as it is, for saving; a browser is told not to make anything of it.
local function value(self, given)
  local message, problem = search.record(self.monitor, given)
  if not message then return refuse(problem) end
  local found = answer(200, "application/octet-stream", message.value or "")
  local name = ("%s-%d-%d"):format(given.topic, message.partition, message.offset)
  found.headers["content-disposition"] = ('attachment; filename="%s"'):format(name)
  return found
end

local function topic(self, given)
  local found, bounds, unknown = self.monitor:topic(given.topic or "")
  if not found then return refuse { status = unknown and 404 or 502, text = bounds } end
  for _, partition in ipairs(found.partitions) do
    local bound = bounds[partition.id]
    if bound then partition.low, partition.high = bound.low, bound.high end
  end
  table.sort(found.partitions, function(a, b) return a.id < b.id end)
  local config = self.monitor.client:describe(found.name, 5)
  return json { name = found.name, partitions = found.partitions, config = config,
    groups = self.monitor:groups_of(found.name), now = sys.wall() / 1000 }
end

local function event(name, text, id)
  return ("event: %s\n%sdata: %s\n\n"):format(name, id and ("id: %s\n"):format(id) or "", text)
end

-- An EventSource cannot see why it was refused: it is told in an event.
local function stream_of(self, run, problem)
  return function(write)
    if not run then
      write(event("refused", rows.encode { text = problem.text }))
      return
    end
    self.listeners = self.listeners + 1
    local ok, cause = pcall(run, function(name, text, id) return write(event(name, text, id)) end)
    self.listeners = self.listeners - 1
    if not ok then error(cause, 0) end
  end
end

local function live(self, given)
  local run, problem
  if self.listeners >= LISTENERS then
    problem = { text = ("%d pages listen already: close one"):format(LISTENERS) }
  else
    run, problem = search.live(self.monitor, given)
  end
  local found = answer(200, "text/event-stream")
  found.stream = stream_of(self, run, problem)
  return found
end

local ROUTES = {
  ["/api/overview"] = function(self) return json(self.monitor:overview()) end,
  ["/api/topic"] = topic,
  ["/api/live"] = live,
  ["/api/records"] = function(self, given) return limited(self, "searches", SEARCHES, records, self, given) end,
  ["/api/record"] = function(self, given) return limited(self, "searches", SEARCHES, record, self, given) end,
  ["/api/value"] = function(self, given) return limited(self, "searches", SEARCHES, value, self, given) end,
}

local function file(path)
  if path == "/" then path = "/index.html" end
  local name, kind = path:match "^/([%w]+%.(%w+))$"
  local content = name and TYPES[kind] and sys.embedded("lua/dbobs/ui/page/" .. name)
  if content then return answer(200, TYPES[kind], content) end
  return refuse { status = 404, text = "there is nothing here; the page is at /" }
end

--- The answer to a request. May wait for brokers.
---@param request dbobs.http.request
---@return dbobs.http.answer
function site:answer(request)
  local route = ROUTES[request.path]
  if route then return route(self, request.query) end
  return file(request.path)
end

return M
