--- The blocks of the metrics collector: checks them, and turns each into a statement and a plan for its rows.
local catalogue = require "dbobs.metrics_catalogue"
local options = require "dbobs.options"
local otlp = require "dbobs.otlp"

local M = {}

local COLLECTOR = {
  definitions = "table", database_list = "string", database_count = "string", server = "table", databases = "table",
  relations = "table",
}
local BLOCK = {
  name = "string", from = "string", points = "table", attributes = "table", resource = "table", identity = "string",
  database = "string", count = "string", since = "number", before = "number",
}

local function metric_of(collector, name, what)
  local own = (collector.definitions or {})[name]
  local found = own or catalogue[name]
  if not found then
    local known = {}
    for each in pairs(catalogue) do known[#known + 1] = each end
    error(("%s: metric '%s' is neither dbobs' nor in `definitions`%s"):format(what, name, options.hint(name, known)), 0)
  end
  return { name = name, unit = found.unit, kind = found.kind, type = found.type, description = found.description }
end

local function check_options(given, known, what)
  local problem = options.problem(given, known, what)
  if problem then error(problem, 0) end
end

local function check_block(collector, block)
  local what = ("metrics: block '%s'"):format(tostring(block.name))
  check_options(block, BLOCK, what)
  if not block.name then error("metrics: a block has no name", 0) end
  if #(block.points or {}) == 0 then error(what .. ": it has no points", 0) end
  for _, point in ipairs(block.points) do
    if type(point[1]) ~= "string" or type(point[2]) ~= "string" then
      error(what .. ": a point is { \"metric\", \"SQL expression\", attribute = \"text\", ... }", 0)
    end
    metric_of(collector, point[1], what)
  end
  if block.count then metric_of(collector, block.count, what) end
end

--- Checks every block of a collector; raises at the caller's file when one is wrong.
---@param collector table
function M.check(collector)
  local ok, cause = pcall(function()
    check_options(collector, COLLECTOR, "metrics")
    if not collector.database_list then error("metrics: `database_list` is missing", 0) end
    if collector.database_count then metric_of(collector, collector.database_count, "metrics: database_count") end
    for _, list in ipairs { "server", "databases", "relations" } do
      local names = {}
      for _, block in ipairs(collector[list] or {}) do
        check_block(collector, block)
        if names[block.name] then error(("metrics: two blocks of `%s` are named '%s'"):format(list, block.name), 0) end
        names[block.name] = true
      end
    end
  end)
  if not ok then error(cause, 3) end
end

-- Collects expressions and names the columns that they become; equal expressions are one column.
local function new_columns()
  local columns = { list = {}, names = {} }
  function columns.add(expression)
    if not columns.names[expression] then
      local name = "c" .. #columns.list + 1
      columns.names[expression] = name
      columns.list[#columns.list + 1] = ("%s as %s"):format(expression, name)
    end
    return columns.names[expression]
  end
  return columns
end

local function sorted(map)
  local names = {}
  for name in pairs(map or {}) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Pairs of an attribute and what `value` makes of its value, in the order of the attributes' names.
local function pairs_of(map, value)
  local list = {}
  for i, name in ipairs(sorted(map)) do list[i] = { name, value(map[name]) } end
  return list
end

local function same(text) return text end

local function compile_points(collector, block, columns)
  local points = {}
  for i, point in ipairs(block.points) do
    points[i] = {
      metric = metric_of(collector, point[1], block.name),
      column = columns.add(point[2]),
      constants = pairs_of(point, same),
      columns = pairs_of(block.attributes, columns.add),
    }
  end
  -- In this order the encoder need not sort each resource's points.
  local place = {}
  for i, point in ipairs(points) do place[point] = i end
  table.sort(points, function(a, b)
    if a.metric.name ~= b.metric.name then return a.metric.name < b.metric.name end
    return place[a] < place[b]
  end)
  return points
end

-- $wanted stands for the target's choice of databases.
local function complete(sql, wanted)
  return (sql:gsub("%$wanted", function() return wanted end))
end

local function compile_block(collector, block, wanted)
  local columns = new_columns()
  if block.database then columns.list[1] = ("%s as database"):format(block.database) end
  local compiled = { name = block.name, points = compile_points(collector, block, columns) }
  compiled.plan = otlp.plan {
    points = compiled.points,
    resource = pairs_of(block.resource, columns.add),
    identity = block.identity and { columns.add(block.identity) } or nil,
  }
  local from = block.from and "\nfrom " .. complete(block.from, wanted) or ""
  compiled.sql = "select " .. table.concat(columns.list, ", ") .. from
  compiled.count = block.count and metric_of(collector, block.count, block.name)
  return compiled
end

local function compile_list(collector, list, version, wanted)
  local compiled = {}
  for _, block in ipairs(list or {}) do
    if version >= (block.since or 0) and version < (block.before or math.huge) then
      compiled[#compiled + 1] = compile_block(collector, block, wanted)
    end
  end
  return compiled
end

--- The statements and plans for a server's major version.
---@param collector table
---@param version integer like 15
---@param wanted string the condition on datname that $wanted stands for
---@return {database_list: string, server: table[], databases: table[], relations: table[], database_count: table|nil}
function M.compile(collector, version, wanted)
  return {
    database_list = complete(collector.database_list, wanted),
    server = compile_list(collector, collector.server, version, wanted),
    databases = compile_list(collector, collector.databases, version, wanted),
    relations = compile_list(collector, collector.relations, version, wanted),
    database_count = collector.database_count and metric_of(collector, collector.database_count, "database_count"),
  }
end

return M
