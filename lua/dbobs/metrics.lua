--- The machinery behind pipelines/collectors/metrics.lua: asks what is shared once per server and the rest once per
--- database, and sends one record for each database and one for the server.
local blocks = require "dbobs.metrics_blocks"
local database = require "dbobs.metrics_database"
local extensions = require "dbobs.metrics_extensions"
local otlp = require "dbobs.otlp"
local report = require "dbobs.metrics_report"
local resource = require "dbobs.metrics_resource"
local workers = require "dbobs.metrics_workers"

local M = {}

-- A series that has not been seen for so long is forgotten and begins anew.
local REMEMBER_US = 24 * 3600 * 1e6
-- A lock kept a shared statement from being run; how often it is sent again.
local LOCKED, LOCK_ATTEMPTS = "55P03", 3

-- What must be known of the server: asked with every collection, so that an upgrade or a grant is noticed; the first
-- time alone.
local function about_statement(run)
  return {
    name = "version",
    sql = [[select current_setting('server_version_num')::int as version, quote_ident(current_user) as role,
      pg_has_role('pg_read_all_stats', 'usage') as sees_all, ]] .. extensions.LIST .. " as extensions",
    each = function(chunk)
      local about = chunk:rows()[1]
      run.state.version = math.floor(about.version / 10000)
      run.state.extensions = extensions.read(about.extensions)
      run:tell("the role does not see everything: no replication lag", not about.sees_all,
        "grant it as superuser: GRANT pg_monitor TO " .. about.role)
    end,
  }
end

-- The statements for this server, made once for each version.
local function compiled(run, collector)
  local state = run.state
  if not state.version then
    local failures, cause = run:snapshot(nil, { about_statement(run) })
    if not failures then return nil, cause end
    if failures.version then return nil, "metrics: version: " .. failures.version.text end
  end
  if state.compiled_version ~= state.version then
    state.compiled = blocks.compile(collector, state.version, resource.wanted(run.target.options), run.options)
    state.compiled_version = state.version
  end
  return state.compiled
end

local function asks_for_sizes(set)
  for _, block in ipairs(set.relations) do
    if block.locks then return true end
  end
  return false
end

-- The statement of a block with the schemas of its extensions, which are the target's own database's.
local function extension_statement(run, block)
  local sql, missing = extensions.statement(block, run.state.extensions)
  if block.extensions then
    report.condition(run, missing and extensions.advice(missing, run.target.database),
      block.name .. ": an extension is missing")
  end
  return sql
end

-- `take` is given the rows.
local function shared_statement(block, sql, take)
  local statement = { name = block.name, sql = sql }
  statement.each = function(chunk)
    statement.begun = true
    take(chunk)
  end
  return statement
end

-- The statements of what is shared. The server's own points go into `request`, the rest into `found`.
local function shared_statements(run, request, set, found)
  local statements = { about_statement(run) }
  statements[2] = {
    name = "list of databases",
    sql = set.database_list,
    each = function(chunk)
      for _, row in ipairs(chunk:rows()) do
        found.names[#found.names + 1] = row.datname
        found.rows[row.datname] = {}
      end
    end,
  }
  for _, block in ipairs(set.server) do
    statements[#statements + 1] = shared_statement(block, block.sql, function(chunk)
      request:points(chunk, block.plan)
    end)
  end
  for _, block in ipairs(set.databases) do
    local sql = extension_statement(run, block)
    statements[#statements + 1] = sql and shared_statement(block, sql, function(chunk)
      for _, row in ipairs(chunk:rows()) do
        local about = found.rows[row.database]
        if about then about[#about + 1] = { block = block, row = row } end
      end
    end)
  end
  if asks_for_sizes(set) then statements[#statements + 1] = database.locks_statement(found.locked) end
  return statements
end

-- Those that met a lock before their first row, to be sent again.
local function met_locks(failures, statements)
  local again = {}
  for _, statement in ipairs(statements) do
    local failure = failures[statement.name]
    if failure and failure.sqlstate == LOCKED and not statement.begun then again[#again + 1] = statement end
  end
  return again
end

-- Asks the server for everything that is shared. Returns the names of the databases, the rows that are about each of
-- them, and the relations in it that are locked: {names, rows, locked}.
local function ask_server(run, request, set)
  local found = { names = {}, rows = {}, locked = {} }
  local statements = shared_statements(run, request, set, found)
  local failures, cause = run:snapshot(nil, statements)
  if not failures then return nil, cause end
  for _ = 2, LOCK_ATTEMPTS do
    local again = met_locks(failures, statements)
    if #again == 0 then break end
    local more
    more, cause = run:snapshot(nil, again)
    if not more then return nil, cause end
    for _, statement in ipairs(again) do failures[statement.name] = more[statement.name] end
  end
  report.statements(run, failures, statements)
  local unlisted = failures["list of databases"]
  if unlisted then return nil, "metrics: list of databases: " .. unlisted.text end
  return found
end

local function collect(run, collector)
  run.state.series = run.state.series or otlp.series()
  local schedule = workers.schedule(run)
  local set, cause = compiled(run, collector)
  if not set then return nil, cause end
  local server = database.request(run)
  server:resource()
  local found
  found, cause = ask_server(run, server, set)
  if not found then return nil, cause end
  report.forget_others(run, found.rows)
  if set.database_count then server:point(set.database_count, #found.names) end
  local _, lost = server:finish()
  report.request(run, server, nil, lost)
  run.state.applied = {}
  workers.collect(schedule, found.names, function(name, limit)
    database.collect(run, name, found.rows[name], set, found.locked[name], limit)
  end)
  database.report_unused(run, set)
  run.state.series:forget(run.time - REMEMBER_US)
  return true
end

--- Makes the collector of the blocks.
---@param collector table see pipelines/collectors/metrics.lua
---@return table collector for dbobs.collect
function M.collector(collector)
  blocks.check(collector)
  return {
    name = "metrics",
    options = { service_name = "postgresql", metrics = {}, separate_schema_attr = false, use_otel_semconv = false },
    problem = function(given) return blocks.problem(collector, given) end,
    collect = function(run) return collect(run, collector) end,
  }
end

return M
