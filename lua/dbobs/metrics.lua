--- The machinery behind pipelines/collectors/metrics.lua: asks what is shared once per server and the rest once per
--- database, and sends one record for each database and one for the server.
local blocks = require "dbobs.metrics_blocks"
local extensions = require "dbobs.metrics_extensions"
local otlp = require "dbobs.otlp"
local resource = require "dbobs.metrics_resource"

local M = {}

local SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/postgresqlreceiver"
local VERSION = require("dbobs.core.sys").version()

-- A series that has not been seen for so long is forgotten and begins anew.
local REMEMBER_US = 24 * 3600 * 1e6

-- Tells of a part that failed, or that it is well again.
local function report(run, what, cause)
  if cause then run:partial(what, cause) else run:tell(what, false) end
end

local function report_all(run, failures, statements, where)
  for _, statement in ipairs(statements) do
    local failure = failures[statement.name]
    report(run, statement.name .. where, failure and failure.text)
  end
end

-- Tells what did not become points, and why a record was lost.
local function report_request(run, request, where, lost)
  local unreadable, metric = select(4, request:counts())
  report(run, "values" .. where, metric and ("%s: %d that are no number, or too large"):format(metric, unreadable))
  report(run, "records" .. where, lost)
end

-- SQLSTATE of a connection to a database that is not there: dropped or renamed since it was listed.
local NO_SUCH_DATABASE = "3D000"

local function new_request(run, database)
  return otlp.request {
    scope = SCOPE,
    scope_version = VERSION,
    key = run:key(database),
    time = run.time,
    sink = run.sink,
    batch = run.batch,
    series = run.state.series,
    resource = resource.attributes(run.target, run.options, database),
  }
end

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

-- Relations that somebody is changing: asking for their size would wait.
local function locks_statement(locked)
  return {
    name = "locked relations",
    sql = [[select d.datname, array_agg(distinct l.relation)::text as relations
      from pg_locks l join pg_database d on d.oid = l.database
      where l.relation is not null and l.granted and l.mode = 'AccessExclusiveLock' group by d.datname]],
    each = function(chunk)
      for _, row in ipairs(chunk:rows()) do locked[row.datname] = row.relations end
    end,
  }
end

local function asks_for_sizes(set)
  for _, block in ipairs(set.relations) do
    if block.locks then return true end
  end
  return false
end

-- Asks the server for everything that is shared. The server's own points go into `request`. Returns the names of the
-- databases, for each the rows that are about it, and the relations in it that are locked.
local function ask_server(run, request, set)
  local locked = {}
  local names, rows = {}, {}
  local statements = { about_statement(run) }
  statements[2] = {
    name = "list of databases",
    sql = set.database_list,
    each = function(chunk)
      for _, row in ipairs(chunk:rows()) do
        names[#names + 1] = row.datname
        rows[row.datname] = {}
      end
    end,
  }
  for _, block in ipairs(set.server) do
    statements[#statements + 1] = { name = block.name, sql = block.sql, each = function(chunk)
      request:points(chunk, block.plan)
    end }
  end
  for _, block in ipairs(set.databases) do
    local sql, missing = extensions.statement(block, run.state.extensions)
    if block.extensions then
      run:tell(block.name .. ": an extension is missing", not sql,
        missing and extensions.advice(missing, run.target.database))
    end
    statements[#statements + 1] = sql and { name = block.name, sql = sql, each = function(chunk)
      for _, row in ipairs(chunk:rows()) do
        local about = rows[row.database]
        if about then about[#about + 1] = { block = block, row = row } end
      end
    end }
  end
  if asks_for_sizes(set) then statements[#statements + 1] = locks_statement(locked) end
  local failures, cause = run:snapshot(nil, statements)
  if not failures then return nil, cause end
  report_all(run, failures, statements, "")
  local unlisted = failures["list of databases"]
  if unlisted then return nil, "metrics: list of databases: " .. unlisted.text end
  return names, rows, locked
end

-- The attributes of a point of a block of `databases`: constants, and the row's own.
local function attributes_of(point, row)
  if #point.columns == 0 then return point.constants end
  local attributes = { unpack(point.constants) }
  for _, pair in ipairs(point.columns) do
    local value = row[pair[2]]
    if value ~= nil then attributes[#attributes + 1] = { pair[1], tostring(value) } end
  end
  return attributes
end

-- The resource of a database: what the server knows of it, and what was counted in it.
local function add_database(run, request, about, counts, seen, namespace)
  local lost
  if not seen.begun then lost = select(2, request:resource()) end
  for _, known in ipairs(about) do
    local wrong
    for _, point in ipairs(known.block.points) do
      local value = known.row[point.column]
      if value ~= nil then
        if not pcall(request.point, request, point.metric, value, attributes_of(point, known.row)) then
          wrong = ("%s: '%s' is no number, or too large"):format(point.metric.name, tostring(value))
        end
      end
    end
    report(run, "values of " .. known.block.name, wrong)
  end
  for _, count in ipairs(counts) do request:point(count.metric, count.value, namespace) end
  return lost
end

-- The extensions of a database, asked anew each time; the answer is for the next. The first time alone.
local function extensions_of(run, set, name)
  if not extensions.needed(set.relations) then return {} end
  local state = run.state
  state.extensions_of = state.extensions_of or {}
  local statement = {
    name = "extensions",
    sql = "select " .. extensions.LIST .. " as extensions",
    each = function(chunk) state.extensions_of[name] = extensions.read(chunk:rows()[1].extensions) end,
  }
  if not state.extensions_of[name] then
    local failures, cause, info = run:snapshot(name, { statement })
    if not failures then return nil, cause, info end
  end
  return state.extensions_of[name] or {}, statement
end

-- Tells which extension a database lacks that has the block's first; where that one is missing, it needs none.
local function tell_missing(run, block, name, sql, missing, applies)
  if not block.extensions then return end
  run:tell(("%s in database %s: an extension is missing"):format(block.name, name), not sql and applies == true,
    missing and extensions.advice(missing, name))
  run.state.applied[block] = run.state.applied[block] or sql ~= nil or applies
end

-- Tells which extension is in none of the databases.
local function tell_unused(run, set)
  for _, block in ipairs(set.relations) do
    if block.extensions then
      local first = block.extensions[1]
      run:tell(("%s: no database has the extension %s"):format(block.name, first), not run.state.applied[block],
        "where it is wanted, " .. extensions.advice(first, "..."))
    end
  end
end

-- The statements for one database's relations, whose rows go into the request; what is counted meanwhile goes into
-- `seen`: the rows of each block, and why a record was lost.
local function relation_statements(run, set, request, seen, name, locked, found, last)
  local statements = {}
  for _, block in ipairs(set.relations) do
    seen.rows[block.name] = 0
    local sql, missing, applies = extensions.statement(block, found)
    tell_missing(run, block, name, sql, missing, applies)
    statements[#statements + 1] = sql and { name = block.name, sql = sql,
      args = block.locks and { locked or "{}", 0 }, each = function(chunk)
        seen.rows[block.name] = seen.rows[block.name] + chunk:count()
        local ok, cause = true, nil
        if block.each_row then
          ok, cause = request:rows(chunk, block.plan)
        else
          if not seen.begun then ok, cause = request:resource() end
          seen.begun = true
          request:points(chunk, block.plan)
        end
        if not ok then seen.lost = cause end
      end }
  end
  statements[#statements + 1] = last
  return statements
end

-- The metrics that are the number of a block's rows, of the blocks that did not fail.
local function row_counts(set, seen, failures)
  local counts = {}
  for _, block in ipairs(set.relations) do
    if block.count and not failures[block.name] then
      counts[#counts + 1] = { metric = block.count, value = seen.rows[block.name] }
    end
  end
  return counts
end

-- Collects one database: each of its relations is a resource, and so is the database itself.
local function collect_database(run, name, about, set, locked)
  local request, seen, counts = new_request(run, name), { rows = {} }, {}
  local where = " in database " .. name
  local found, asked, info = extensions_of(run, set, name)
  local statements = found and relation_statements(run, set, request, seen, name, locked, found, asked) or {}
  local failures, cause = nil, asked
  if found then failures, cause, info = run:snapshot(name, statements) end
  if info and info.sqlstate == NO_SUCH_DATABASE then return end
  report(run, "database " .. name, not failures and cause or nil)
  if failures then
    report_all(run, failures, statements, where)
    counts = row_counts(set, seen, failures)
  else
    request:discard()
    seen.begun = false
  end
  local lost = add_database(run, request, about, counts, seen, set.namespace and { { set.namespace, name } })
  local _, last_lost = request:finish()
  report_request(run, request, where, seen.lost or lost or last_lost)
end

local function collect(run, collector)
  run.state.series = run.state.series or otlp.series()
  local set, cause = compiled(run, collector)
  if not set then return nil, cause end
  local server = new_request(run)
  server:resource()
  local names, rows, locked = ask_server(run, server, set)
  if not names then return nil, rows end
  if set.database_count then server:point(set.database_count, #names) end
  local _, lost = server:finish()
  report_request(run, server, " of the server", lost)
  run.state.applied = {}
  for _, name in ipairs(names) do collect_database(run, name, rows[name], set, locked[name]) end
  tell_unused(run, set)
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
