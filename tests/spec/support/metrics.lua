--- Runs a metrics collector once against a server, and what its records say as a list of points.
local json = require "cjson"
local memory = require "dbobs.core.memory"
local otlp = require "dbobs.otlp"
local pool = require "dbobs.pool"
local run = require "dbobs.run"
local sys = require "dbobs.core.sys"
local target_module = require "dbobs.target"
local timer = require "dbobs.timer"

local M = {}

local function value_of(any)
  return any.stringValue or any.intValue or any.doubleValue
end

local function attributes_of(list)
  local map, texts = {}, {}
  for i, attribute in ipairs(list or {}) do
    map[attribute.key] = value_of(attribute.value)
    texts[i] = attribute.key .. "=" .. value_of(attribute.value)
  end
  return map, table.concat(texts, ",")
end

-- Appends the points of a record, each with all that is said about it.
local function add_points(points, record)
  for _, resource in ipairs(json.decode((assert(otlp.decode(record.value)))).resourceMetrics) do
    local about = attributes_of(resource.resource.attributes)
    local scope = resource.scopeMetrics[1]
    for _, metric in ipairs(scope.metrics) do
      for _, point in ipairs((metric.sum or metric.gauge).dataPoints) do
        local _, text = attributes_of(point.attributes)
        points[#points + 1] = {
          key = record.key, resource = about, scope = scope.scope, metric = metric, attributes = text,
          value = point.asInt or point.asDouble, point = point,
        }
      end
    end
  end
end

--- A collector on a target, to be run again and again.
---@param collector table
---@param given table an entry of targets.lua
---@param to userdata|nil a memory sink; nil makes one without limits
---@param chosen table|nil options of the collector, over its defaults
---@return table scraper scraper.collect() -> points, records, the run, or nil and the cause; scraper.close();
---   scraper.options of the collector; scraper.before(run, database) is called before each snapshot. The run has
---   besides `told`, conditions and their causes, `counted`, its counters, and `sent`, the statements
function M.scraper(collector, given, to, chosen)
  local target = assert(target_module.new(given))
  local state, sink = {}, to or memory()
  local options = {}
  for name, value in pairs(collector.options) do options[name] = value end
  for name, value in pairs(chosen or {}) do options[name] = value end
  assert(not collector.problem(options), collector.problem(options))
  local scraper = { options = options, before = function() end }

  function scraper.collect()
    local current = run.new({ target = target, options = options, state = state, collector = collector },
      sink)
    local tell, snapshot = current.tell, current.snapshot
    current.told, current.counted, current.sent = {}, {}, {}
    function current:count(name, n)
      self.counted[name] = (self.counted[name] or 0) + (n or 1)
    end
    function current:tell(what, active, why)
      if active then self.told[what] = why end
      tell(self, what, active, why)
    end
    function current:snapshot(database, statements)
      scraper.before(self, database)
      for _, statement in ipairs(statements) do self.sent[#self.sent + 1] = statement.sql end
      return snapshot(self, database, statements)
    end
    local ok, cause = collector.collect(current)
    local records, points = sink:take(), {}
    if not ok then return nil, cause end
    for _, record in ipairs(records) do add_points(points, record) end
    return points, records, current
  end

  function scraper.close()
    pool.close(target)
  end

  return scraper
end

--- Collects once, with connections of its own.
---@return table[] points, table[] records, table run
function M.collect(collector, given, chosen)
  local scraper = M.scraper(collector, given, nil, chosen)
  local points, records, current = scraper.collect()
  scraper.close()
  return assert(points, records), records, current
end

--- The option `metrics` that switches every metric on.
---@return table<string, boolean>
function M.all()
  local on = {}
  for name in pairs(require "dbobs.metrics_catalogue") do on[name] = true end
  return on
end

--- Tries until `holds` returns a true value, at most a minute long.
---@param holds function
---@return any result
function M.eventually(holds)
  local until_time = sys.monotonic() + 60
  while true do
    local result = holds()
    if result or sys.monotonic() > until_time then return result end
    timer.sleep(0.1)
  end
end

--- Waits until the server has counted what the sessions before did.
---@param server table
---@param database string
---@return boolean
function M.settled(server, database)
  local before
  return M.eventually(function()
    timer.sleep(0.6) -- until 14 the statistics are written twice in a second
    local now = server:psql([[select sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del), sum(seq_scan) + sum(idx_scan),
      sum(heap_blks_hit) from pg_stat_user_tables join pg_statio_user_tables using (relid)]], database)
    local same = now == before
    before = now
    return same
  end)
end

--- A point's attributes, "name=value,...", in the order of their names.
---@param attributes string
---@return string
function M.ordered(attributes)
  local list = {}
  for one in attributes:gmatch "[^,]+" do list[#list + 1] = one end
  table.sort(list)
  return table.concat(list, ",")
end

--- The points that fit: metric name, resource attributes, and the point's attributes as "name=value,...".
---@param points table[]
---@param metric string
---@param resource table<string, string>|nil
---@param attributes string|nil
---@return table[] found
function M.select(points, metric, resource, attributes)
  local found = {}
  for _, point in ipairs(points) do
    local fits = point.metric.name == metric and (not attributes or point.attributes == attributes)
    for name, value in pairs(resource or {}) do fits = fits and point.resource[name] == value end
    if fits then found[#found + 1] = point end
  end
  return found
end

--- The value of the one point that fits; raises unless there is exactly one.
function M.value(points, metric, resource, attributes)
  local found = M.select(points, metric, resource, attributes)
  if #found ~= 1 then error(("%d points %s{%s}"):format(#found, metric, attributes or ""), 2) end
  return found[1].value
end

return M
