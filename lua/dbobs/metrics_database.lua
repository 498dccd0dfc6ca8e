--- One database of a scrape: its relations, and what the server knows of it, as one record. Relations that somebody has
--- locked are left out, counted and told. A database that is gone or refuses us is no failure.
local extensions = require "dbobs.metrics_extensions"
local otlp = require "dbobs.otlp"
local report = require "dbobs.metrics_report"
local resource = require "dbobs.metrics_resource"
local task = require "dbobs.task"

local M = {}

local SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/postgresqlreceiver"
local VERSION = require("dbobs.core.sys").version()

-- Somebody has a relation locked and lock_timeout has passed.
local LOCKED = "55P03"
-- Connecting: dropped or renamed since it was listed.
local NO_SUCH_DATABASE = "3D000"
local LAST_OID = 4294967295
-- How often a statement is sent that meets a lock.
local LOCK_ATTEMPTS = 5

-- Who waits for such a lock is in the way as well: our own lock would queue behind it.
local LOCKS = [[select d.datname, array_agg(distinct l.relation)::text as relations
  from pg_locks l join pg_database d on d.oid = l.database
  where l.relation is not null and l.mode = 'AccessExclusiveLock'%s group by d.datname]]
local LOCKS_EVERYWHERE, LOCKS_HERE = LOCKS:format "", LOCKS:format " and d.datname = current_database()"

-- The statement that brings the locked relations, as text of an oid[] by database, into `locked`.
local function locks_statement(sql, locked)
  return {
    name = "locked relations",
    sql = sql,
    each = function(chunk)
      for _, row in ipairs(chunk:rows()) do locked[row.datname] = row.relations end
    end,
  }
end

--- The statement that brings the locked relations of every database.
---@param locked table<string, string> by database, the text of an oid[]
---@return table statement
function M.locks_statement(locked)
  return locks_statement(LOCKS_EVERYWHERE, locked)
end

--- A request for the record of a database, or of the server.
---@param run dbobs.run
---@param database string|nil
---@return dbobs.otlp.request
function M.request(run, database)
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

-- The resource of the database is open: points that are not a relation's own go there.
local function open_resource(one)
  if one.open then return end
  local ok, cause = one.request:resource()
  one.open = true
  if not ok then one.lost = cause end
end

-- What the server knows of the database, and what was counted in it.
local function add_database(one, counts)
  local run, request = one.run, one.request
  open_resource(one)
  for _, known in ipairs(one.about) do
    local wrong
    for _, point in ipairs(known.block.points) do
      local value = known.row[point.column]
      if value ~= nil then
        if not pcall(request.point, request, point.metric, value, attributes_of(point, known.row)) then
          wrong = ("%s: '%s' is no number, or too large"):format(point.metric.name, tostring(value))
        end
      end
    end
    report.part(run, wrong, "values of " .. known.block.name, one.name)
  end
  local namespace = one.set.namespace and { { one.set.namespace, one.name } }
  for _, count in ipairs(counts) do request:point(count.metric, count.value, namespace) end
end

-- The extensions of the database, asked anew each time; the answer is for the next. The first time alone.
local function find_extensions(one)
  one.extensions = {}
  if not extensions.needed(one.set.relations) then return true end
  local state = one.run.state
  state.extensions_of = state.extensions_of or {}
  one.extensions_statement = {
    name = "extensions",
    sql = "select " .. extensions.LIST .. " as extensions",
    each = function(chunk) state.extensions_of[one.name] = extensions.read(chunk:rows()[1].extensions) end,
  }
  if not state.extensions_of[one.name] then
    local failures, cause, info = one.run:snapshot(one.name, { one.extensions_statement })
    if not failures then return nil, cause, info end
  end
  one.extensions = state.extensions_of[one.name] or {}
  return true
end

-- The block's statement where its extensions are there. Tells which one a database lacks that has the block's first;
-- where that one is missing, it needs none.
local function statement_of(one, block)
  local sql, missing, applies = extensions.statement(block, one.extensions)
  if not block.extensions then return sql end
  report.condition(one.run, not sql and applies and extensions.advice(missing, one.name) or nil,
    ("%s in database %s: an extension is missing"):format(block.name, one.name), one.name)
  local applied = one.run.state.applied
  applied[block] = applied[block] or sql ~= nil or applies
  return sql
end

--- Tells which extension is in none of the databases.
---@param run dbobs.run
---@param set dbobs.metrics.set
function M.report_unused(run, set)
  for _, block in ipairs(set.relations) do
    local first = block.extensions and block.extensions[1]
    if first then
      report.condition(run, not run.state.applied[block] and "where it is wanted, " .. extensions.advice(first, "...")
        or nil, ("%s: no database has the extension %s"):format(block.name, first))
    end
  end
end

-- What is to be asked of each block: {block, sql, rows = how many came, last = the last relation, by its number,
-- attempts = what each left out, behind which relation}.
local function plan(one)
  for _, block in ipairs(one.set.relations) do
    local sql = statement_of(one, block)
    one.asked[#one.asked + 1] = sql and { block = block, sql = sql, rows = 0, last = 0, attempts = {} }
  end
end

-- The statement of a block of relations. What it has brought stands in `asked`: the rows, and the last relation, behind
-- which it can go on.
local function relation_statement(one, asked)
  local block = asked.block
  if block.locks then asked.attempts[#asked.attempts + 1] = { locked = one.locked, behind = asked.last } end
  return {
    name = block.name,
    sql = asked.sql,
    args = block.locks and { one.locked or "{}", asked.last } or nil,
    asked = asked,
    each = function(chunk)
      if block.each_row then
        local ok, cause = one.request:rows(chunk, block.plan)
        one.open = false
        if not ok then one.lost = cause end
      else
        open_resource(one)
        one.request:points(chunk, block.plan)
      end
      asked.rows = asked.rows + chunk:count()
      if block.locks then asked.last = chunk:last(block.locks_column) end
    end,
  }
end

-- The statement that names what the i-th attempt at a block left out: up to the relation where the next one began.
local function left_out_statement(one, asked, i)
  local attempt, following = asked.attempts[i], asked.attempts[i + 1]
  return {
    name = ("locked %s, attempt %d"):format(asked.block.name, i),
    sql = extensions.statement({ sql = asked.block.left_out, extensions = asked.block.extensions }, one.extensions),
    args = { attempt.locked, attempt.behind, following and following.behind or LAST_OID },
    each = function(chunk)
      for _, row in ipairs(chunk:rows()) do one.left_out[#one.left_out + 1] = row.name end
    end,
  }
end

local function new_statements(one, asked_again)
  local statements = {}
  for i, asked in ipairs(asked_again) do statements[i] = relation_statement(one, asked) end
  return statements
end

-- Those that met a lock; they go on when it is known what is locked.
local function met_locks(failures, statements)
  local list = {}
  for _, statement in ipairs(statements) do
    local failure = failures[statement.name]
    local asked = failure and failure.sqlstate == LOCKED and statement.asked
    if asked and asked.block.locks then list[#list + 1] = asked end
  end
  return list
end

-- Names what was left out. A block's `count` is of the rows that came, as the receiver's is.
local function name_left_out(one)
  local statements = {}
  for _, asked in ipairs(one.asked) do
    for i, attempt in ipairs(asked.attempts) do
      if attempt.locked then statements[#statements + 1] = left_out_statement(one, asked, i) end
    end
  end
  if #statements > 0 then one.run:snapshot(one.name, statements) end
end

-- Asks for the relations. Returns what failed for good; or nil, the cause and its table when nothing can be had.
local function ask(one)
  local ready, problem, about_problem = find_extensions(one)
  if not ready then return nil, problem, about_problem end
  plan(one)
  local statements = new_statements(one, one.asked)
  statements[#statements + 1] = one.extensions_statement
  if #statements == 0 then return {} end
  local failures, cause, info = one.run:snapshot(one.name, statements)
  for _ = 2, LOCK_ATTEMPTS do
    local again = failures and met_locks(failures, statements) or {}
    if #again == 0 then break end
    local locked = {}
    local found = one.run:snapshot(one.name, { locks_statement(LOCKS_HERE, locked) })
    if not found then break end
    one.locked = locked[one.name]
    statements = new_statements(one, again)
    local more
    more, cause, info = one.run:snapshot(one.name, statements)
    if not more then return nil, cause, info end
    for _, statement in ipairs(statements) do failures[statement.name] = more[statement.name] end
  end
  if failures then name_left_out(one) end
  return failures, cause, info
end

local function report_left_out(one)
  local count, names = #one.left_out, nil
  if count > 0 then
    one.run:count("locked_relations", count)
    names = table.concat(one.left_out, ", ", 1, math.min(count, 5)) .. (count > 5 and ", ..." or "")
  end
  report.condition(one.run, names, ("locked relations in database %s are left out"):format(one.name), one.name)
end

-- The metrics that are the number of a block's rows, of the blocks that did not fail.
local function row_counts(one, failures)
  local counts = {}
  for _, asked in ipairs(one.asked) do
    if asked.block.count and not failures[asked.block.name] then
      counts[#counts + 1] = { metric = asked.block.count, value = asked.rows }
    end
  end
  return counts
end

-- Tells how it went. Returns false when there is no such database any more.
local function report_outcome(one, failures, cause, info)
  local refused = info and info.refused and cause or nil
  if info and info.sqlstate == NO_SUCH_DATABASE then return false end
  report.condition(one.run, refused, ("database %s cannot be connected to: it is left out"):format(one.name), one.name)
  local failed = not failures and not refused and not info.blocked
  report.part(one.run, failed and cause or nil, "relations", one.name)
  if failures then
    report.statements(one.run, failures, one.set.relations, one.name)
    report_left_out(one)
  end
  return true
end

--- Collects a database.
---@param run dbobs.run
---@param name string
---@param about {block: table, row: table}[] what the server told of it
---@param set dbobs.metrics.set
---@param locked string|nil its locked relations, the text of an oid[]
---@param limit number seconds
function M.collect(run, name, about, set, locked, limit)
  local one = {
    run = run, name = name, about = about, set = set, locked = locked, request = M.request(run, name), asked = {},
    left_out = {},
  }
  local failures, cause, info = task.deadline(limit, ask, one)
  if not failures then
    one.request:discard()
    one.open = false
  end
  if not report_outcome(one, failures, cause, info or {}) then return end
  add_database(one, failures and row_counts(one, failures) or {})
  local _, lost = one.request:finish()
  report.request(run, one.request, name, one.lost or lost)
end

return M
