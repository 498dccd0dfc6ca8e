--- The blocks of the metrics collector: checks them, and turns each into a statement and a plan for its rows. What is
--- off, by the option `metrics`, has no column; a block without columns is no statement.
local catalogue = require "dbobs.metrics_catalogue"
local model_module = require "dbobs.metrics_model"
local options = require "dbobs.options"
local otlp = require "dbobs.otlp"

local M = {}

local COLLECTOR = {
  definitions = "table", database_list = "string", database_count = "string", server = "table", databases = "table",
  relations = "table",
}
local BLOCK = {
  name = "string", from = "string", where = "string", group = "string", points = "table", attributes = "table",
  resource = "table", identity = "string", database = "string", count = "string", since = "number", before = "number",
  locks = "string", reset_age = "string", extensions = "table",
}
local DEFINITION = {
  unit = "string", kind = { one = { "gauge", "sum", "counter" } }, type = { one = { "int", "double" } },
  description = "string", enabled = "boolean",
}
local LISTS = { "server", "databases", "relations" }

local function definition_of(collector, name)
  return (collector.definitions or {})[name] or catalogue[name]
end

local function known_metrics(collector)
  local known = {}
  for _, source in ipairs { catalogue, collector.definitions or {} } do
    for name in pairs(source) do known[#known + 1] = name end
  end
  return known
end

local function hint(collector, name)
  return options.hint(name, known_metrics(collector))
end

local function check_metric(collector, name, what)
  if definition_of(collector, name) then return end
  error(("%s: metric '%s' is neither dbobs' nor in `definitions`%s"):format(what, name, hint(collector, name)), 0)
end

local function check_table(given, known, what)
  local problem = options.problem(given, known, what)
  if problem then error(problem, 0) end
end

local function check_points(collector, block, what)
  for _, point in ipairs(block.points or {}) do
    if type(point) ~= "table" or type(point[1]) ~= "string" or type(point[2]) ~= "string" then
      error(what .. ": a point is { \"metric\", \"SQL expression\", attribute = \"text\", ... }", 0)
    end
    check_metric(collector, point[1], what)
  end
end

local function check_block(collector, block, list)
  local what = ("metrics: block '%s'"):format(tostring(block.name))
  check_table(block, BLOCK, what)
  if not block.name then error("metrics: a block has no name", 0) end
  if #(block.points or {}) == 0 and not block.count then error(what .. ": it has no points", 0) end
  if list == "databases" and not block.database then
    error(what .. ": `database` is missing: the SQL expression of the name of a row's database", 0)
  end
  check_points(collector, block, what)
  if block.count then check_metric(collector, block.count, what) end
end

local function check_all(collector)
  check_table(collector, COLLECTOR, "metrics")
  if not collector.database_list then error("metrics: `database_list` is missing", 0) end
  for name, definition in pairs(collector.definitions or {}) do
    check_table(definition, DEFINITION, ("metrics: definition of '%s'"):format(name))
  end
  if collector.database_count then check_metric(collector, collector.database_count, "metrics: database_count") end
  for _, list in ipairs(LISTS) do
    local names = {}
    for _, block in ipairs(collector[list] or {}) do
      check_block(collector, block, list)
      if names[block.name] then error(("metrics: two blocks of `%s` are named '%s'"):format(list, block.name), 0) end
      names[block.name] = true
    end
  end
end

--- Checks every block of a collector; raises at the caller's file when one is wrong.
---@param collector table
function M.check(collector)
  local ok, cause = pcall(check_all, collector)
  if not ok then error(cause, 3) end
end

--- What is wrong with the options that a pipeline gives the collector, beyond their types.
---@param collector table
---@param given {metrics: table<string, boolean>, separate_schema_attr: boolean, use_otel_semconv: boolean}
---@return string|nil problem
function M.problem(collector, given)
  if given.separate_schema_attr and given.use_otel_semconv then
    return "options 'separate_schema_attr' and 'use_otel_semconv' exclude each other: choose one"
  end
  for name, on in pairs(given.metrics) do
    if type(name) ~= "string" then
      return "option 'metrics' maps names to true or false, like { [\"postgresql.wal.delay\"] = true }"
    end
    if not definition_of(collector, name) then
      return ("option 'metrics': no metric '%s'%s"):format(name, hint(collector, name))
    end
    if type(on) ~= "boolean" then
      return ("option 'metrics': '%s' must be true or false, got %s"):format(name,
        type(on) == "string" and ("'%s'"):format(on) or type(on))
    end
  end
end

-- What blocks are compiled with: the collector, the server's version, $wanted, the model and the metrics that are on.
local context = {}
context.__index = context

function context:is_on(name)
  local chosen = self.metrics[name]
  if chosen ~= nil then return chosen end
  return definition_of(self.collector, name).enabled ~= false
end

function context:metric(name)
  if not name or not self:is_on(name) then return nil end
  local found = definition_of(self.collector, name)
  return { name = name, unit = found.unit, kind = found.kind, type = found.type, description = found.description }
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

-- The block's points that are on, in the order of their metrics' names: so the encoder need not sort each resource's.
local function compile_points(self, block, attributes, columns)
  local points, place = {}, {}
  for i, point in ipairs(block.points or {}) do
    local metric = self:metric(point[1])
    if metric then
      local compiled = {
        metric = metric,
        column = columns.add(point[2]),
        constants = pairs_of(point, same),
        columns = pairs_of(attributes, columns.add),
      }
      points[#points + 1], place[compiled] = compiled, i
    end
  end
  table.sort(points, function(a, b)
    if a.metric.name ~= b.metric.name then return a.metric.name < b.metric.name end
    return place[a] < place[b]
  end)
  return points
end

-- Functions that ask for a relation's size wait for whoever has it locked.
local function asks_for_size(self, block)
  for _, point in ipairs(block.points or {}) do
    if self:is_on(point[1]) and point[2]:find "pg_[%w_]*size%s*%(" then return true end
  end
  return false
end

-- $wanted stands for the target's choice of databases.
local function complete(sql, wanted)
  return (sql:gsub("%$wanted", function() return wanted end))
end

local function statement(self, block, columns, locks)
  local sql = { "select " .. table.concat(columns.list, ", ") }
  if block.from then sql[#sql + 1] = "from " .. complete(block.from, self.wanted) end
  local where = block.where and ("(%s)"):format(complete(block.where, self.wanted))
  if locks then
    local left_out = ("%s <> all ($1::oid[]) and %s > $2::oid"):format(locks, locks)
    where = where and where .. "\n  and " .. left_out or left_out
  end
  if where then sql[#sql + 1] = "where " .. where end
  if block.group then sql[#sql + 1] = "group by " .. block.group end
  if locks then sql[#sql + 1] = "order by " .. locks end
  return table.concat(sql, "\n")
end

-- Names those of the relations $1 that are the block's, behind $2 and up to $3: they were left out of it.
local function left_out_statement(self, block)
  local where = block.where and ("(%s) and "):format(complete(block.where, self.wanted)) or ""
  local sql = [[select %s::oid::regclass::text as name
    from %s
    where %s%s = any ($1::oid[]) and %s > $2::oid and %s <= $3::oid]]
  return sql:format(block.locks, complete(block.from, self.wanted), where, block.locks, block.locks, block.locks)
end

-- The attributes of a row's resource, and those of its points, in the model.
local function placed(self, block, list)
  if list == "relations" then return self.model.rows(block.resource or {}) end
  local attributes = {}
  if list == "databases" and self.model.one_resource then attributes[model_module.NAMESPACE] = block.database end
  return {}, attributes
end

local function compile_block(self, block, list)
  local columns, resource, attributes = new_columns(), placed(self, block, list)
  for name, expression in pairs(block.attributes or {}) do attributes[name] = expression end
  if list == "databases" then columns.list[1] = ("%s as database"):format(block.database) end
  local points = compile_points(self, block, attributes, columns)
  local count = self:metric(block.count)
  local each_row = list == "relations" and not self.model.one_resource
    and (block.resource ~= nil or block.identity ~= nil)
  local locks = #points > 0 and asks_for_size(self, block) and block.locks or nil
  if #points == 0 then
    if not count then return nil end
    -- Nothing but the number of rows is wanted: the server counts them.
    local about = self.model.one_resource and { [model_module.NAMESPACE] = "current_database()" }
    points = { { metric = count, column = columns.add "count(*)", constants = {},
      columns = pairs_of(about, columns.add) } }
    count, each_row, resource = nil, false, {}
  end
  local reset = block.reset_age and columns.add(block.reset_age)
  local compiled = {
    name = block.name, points = points, count = count, each_row = each_row, extensions = block.extensions,
    locks = locks and true, locks_column = locks and columns.add(locks), reset_column = reset,
    left_out = locks and left_out_statement(self, block),
  }
  compiled.plan = otlp.plan {
    points = points,
    resource = pairs_of(each_row and resource or {}, columns.add),
    identity = each_row and block.identity and { columns.add(block.identity) } or nil,
    reset = reset,
  }
  compiled.sql = statement(self, block, columns, locks)
  return compiled
end

local function compile_list(self, list)
  local compiled = {}
  for _, block in ipairs(self.collector[list] or {}) do
    if self.version >= (block.since or 0) and self.version < (block.before or math.huge) then
      compiled[#compiled + 1] = compile_block(self, block, list)
    end
  end
  return compiled
end

-- First the blocks whose rows are resources: behind them the database's own stays open.
local function rows_first(blocks)
  local ordered = {}
  for _, each_row in ipairs { true, false } do
    for _, block in ipairs(blocks) do
      if block.each_row == each_row then ordered[#ordered + 1] = block end
    end
  end
  return ordered
end

---@class dbobs.metrics.block a statement and what its rows become
---@field name string
---@field sql string
---@field points table[] as in otlp.plan; of blocks of `databases`, whose column `database` says what a row is about
---@field plan userdata for request:rows when each_row is true, else for request:points
---@field each_row boolean each row is a resource of its own; else all points belong to the database's (or the server's)
---@field count table|nil the metric that is the number of rows
---@field locks boolean|nil the statement has two parameters: $1 oid[], relations to be left out, and $2 oid: only
---   relations behind it are asked; rows come in this order
---@field locks_column string|nil the column with a row's relation
---@field left_out string|nil the statement that names those of the relations $1 oid[] that are the block's, behind
---   $2 oid and up to $3 oid
---@field reset_column string|nil the column with the microseconds since the reset of the block's counters
---@field extensions string[]|nil must be in the database, see dbobs.metrics_extensions

---@class dbobs.metrics.set
---@field database_list string
---@field database_count table|nil a metric
---@field server dbobs.metrics.block[]
---@field databases dbobs.metrics.block[]
---@field relations dbobs.metrics.block[] those with each_row first
---@field namespace string|nil the attribute by which points without a plan say their database: `count`

--- The statements and plans for a server's major version.
---@param collector table
---@param version integer like 15
---@param wanted string the condition on datname that $wanted stands for
---@param given {metrics: table<string, boolean>, separate_schema_attr: boolean, use_otel_semconv: boolean}
---@return dbobs.metrics.set
function M.compile(collector, version, wanted, given)
  local self = setmetatable({
    collector = collector, version = version, wanted = wanted, metrics = given.metrics,
    model = model_module.of(given),
  }, context)
  local set = {
    database_list = complete(collector.database_list, wanted),
    database_count = self:metric(collector.database_count),
    namespace = self.model.one_resource and model_module.NAMESPACE,
  }
  for _, list in ipairs(LISTS) do set[list] = compile_list(self, list) end
  set.relations = rows_first(set.relations)
  return set
end

return M
