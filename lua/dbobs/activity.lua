--- The machinery behind pipelines/events.lua: activity events, each of which is one query over the server's views. All
--- that are switched on go to the server together, in one round trip; one that is off costs nothing.
local options = require "dbobs.options"
local record = require "dbobs.record"
local sys = require "dbobs.core.sys"

local M = {}

---@class dbobs.event
---@field name string also in the column event_type
---@field sql string each row becomes a record; a column `database` names the record's database, else it is the server's
---@field on boolean|nil whether it is sent when the pipeline does not say
---@field longer_than string|nil a duration, which the pipeline may give instead of true; in milliseconds it is $1
---@field log_level string|nil "info" by default
---@field since integer|nil the first major version that can tell it
---@field view string|nil SQL that looks for what the event needs, and returns its name for {view}, or no row: no event
---@field when_changed string|nil sent only when this column of its only row differs from the last look

-- The version, the grants and the views are asked again so often, so that an upgrade or a grant is noticed.
local LOOK_AGAIN_US = 10e6

-- SQLSTATEs of a view that went since it was looked for: no such table, no such schema, extension not loaded.
local WENT = { ["42P01"] = true, ["3F000"] = true, ["55000"] = true }

-- Without pg_monitor the sessions of others have no state.
local ABOUT = [[
  select current_setting('server_version_num')::int / 10000 as version,
         pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all, quote_ident(current_user) as me]]

-- What began after the statement did has just begun.
local MS_SINCE = "case when %1 > statement_timestamp() then 0 "
  .. "else round((extract(epoch from statement_timestamp() - %1) * 1000)::numeric, 3) end"

--- What is wrong with the choice of events that a pipeline makes.
---@param events dbobs.event[]
---@param given table<string, boolean|string|number> by name: true, false, or the duration that is too long
---@return string|nil problem
function M.problem(events, given)
  local known = {}
  for _, event in ipairs(events) do known[event.name] = event.longer_than and "any" or "boolean" end
  local problem = options.problem(given, known, "events")
  if problem then return problem end
  for name, choice in pairs(given) do
    if type(choice) ~= "boolean" and not pcall(sys.duration, choice) then
      return ("events: option '%s' must be true, false or a duration like \"5m\", got %s"):format(name,
        type(choice) == "string" and ("'%s'"):format(choice) or type(choice))
    end
  end
end

--- SQL for one version: a line that ends in `-- since N` or `-- before N` is there for those versions alone;
--- ms_since(x) is how long ago x was when the statement began, in milliseconds.
---@param sql string
---@param version integer
---@return string
function M.sql_for(sql, version)
  local lines = {}
  for line in (sql .. "\n"):gmatch "(.-)\n" do
    local bound, number = line:match "%-%- (%l+) (%d+)%s*$"
    number = tonumber(number)
    local outside = bound == "since" and version < number or bound == "before" and version >= number
    if not outside then lines[#lines + 1] = number and line:gsub("%s*%-%- %l+ %d+%s*$", "") or line end
  end
  return (table.concat(lines, "\n"):gsub("ms_since(%b())", MS_SINCE))
end

-- Whether the event is on, and its $1.
local function choice(event, given)
  local chosen = given[event.name]
  if chosen == nil then chosen = event.on end
  if not chosen then return false end
  if not event.longer_than then return true, {} end
  return true, { math.floor(sys.duration(chosen == true and event.longer_than or chosen) * 1000) }
end

-- What must be known of the server before its events can be asked for.
local function look_statements(events, given, state)
  local seen = { views = {} }
  local statements = {
    { name = "server", sql = ABOUT, each = function(rows)
      local about = rows:rows()[1]
      if about then seen.version, seen.sees_all, seen.me = about.version, about.sees_all, about.me end
      state.server = seen
    end },
  }
  for _, event in ipairs(events) do
    if event.view and choice(event, given) then
      statements[#statements + 1] = { name = event.name .. " (view)", sql = event.view, each = function(rows)
        local row = rows:rows()[1]
        seen.views[event.name] = row and row.view
      end }
    end
  end
  return statements
end

-- Whether the column that tells of a change did change; the first look is none.
local function changed(event, rows, state)
  local row = rows:rows()[1]
  local value = row and row[event.when_changed]
  local before = state.values[event.name]
  state.values[event.name] = value or before
  return value and before and value ~= before
end

local function event_statement(run, event, arguments, state)
  local sql = M.sql_for(event.sql, state.server.version)
  if event.view then sql = sql:gsub("{view}", (state.server.views[event.name]:gsub("%%", "%%%%"))) end
  local writer = record.writer(run:envelope(), {
    data_type = "log",
    time = run.time,
    log_level = event.log_level or "info",
    database_column = "database",
    masked_column = "query",
  })
  return {
    name = event.name,
    sql = sql,
    args = arguments,
    each = function(rows)
      if event.when_changed and not changed(event, rows, state) then return end
      assert(writer:rows(rows, run.sink, run.batch))
    end,
  }
end

local function event_statements(run, events, given, state)
  local statements = {}
  for _, event in ipairs(events) do
    local on, arguments = choice(event, given)
    on = on and state.server.version >= (event.since or 0) and (not event.view or state.server.views[event.name])
    if on then statements[#statements + 1] = event_statement(run, event, arguments, state) end
  end
  return statements
end

-- Tells what failed, and what is well again.
local function report(run, events, statements, failures, state)
  local views = {}
  for _, event in ipairs(events) do views[event.name] = event.view end
  for _, statement in ipairs(statements) do
    local name, failure = statement.name, failures[statement.name]
    if failure and views[name] and WENT[failure.sqlstate] then
      failure, state.looked = nil, nil
    end
    if failure then run:partial(name, failure.text) else run:tell(name, false) end
  end
  local hidden = "sessions of other users are hidden"
  if state.server.sees_all then
    run:tell(hidden, false)
  else
    run:partial(hidden, ("run: GRANT pg_monitor TO %s"):format(state.server.me))
  end
end

--- Asks for the events that are on and sends them.
---@param run dbobs.run
---@param events dbobs.event[]
---@param given table<string, boolean|string|number> what the pipeline switched on or off
---@return boolean|nil ok, string|nil cause
function M.collect(run, events, given)
  local state = run.state.activity or { values = {} }
  run.state.activity = state
  local statements = {}
  if not state.looked or run.time - state.looked >= LOOK_AGAIN_US then
    statements = look_statements(events, given, state)
    if not state.server then
      local failures, cause = run:snapshot(nil, statements)
      if not failures then return nil, cause end
      if failures.server then return nil, failures.server.text end
      statements = {}
    end
    state.looked = run.time
  end
  for _, one in ipairs(event_statements(run, events, given, state)) do statements[#statements + 1] = one end
  local failures, cause = run:snapshot(nil, statements)
  if not failures then return nil, cause end
  report(run, events, statements, failures, state)
  return true
end

return M
