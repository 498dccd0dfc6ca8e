--- The statements of a server, from pg_stat_statements to records: those whose counters changed. Texts are read when
--- one is missing, since the server reads its whole file of texts for a single one. All trackers of a pipeline share
--- their texts.
local core = require "dbobs.core.statements"
local options = require "dbobs.options"
local resource = require "dbobs.metrics_resource"
local record = require "dbobs.record"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local texts = core.texts()

-- SQLSTATEs of texts that this database's encoding cannot show.
local NO_TEXT = { ["22021"] = true, ["22P05"] = true }

-- A tick may come a little before its time.
local TICK = 0.95

--- The kinds of a collector's options that concern statements, where their defaults do not tell, see dbobs.collect.
---@type table<string, string>
M.kinds = { full_every = "duration", text_every = "duration" }

local function list_problem(name, list)
  for key, value in pairs(list) do
    if type(key) ~= "number" or type(value) ~= "string" then
      return ("option '%s' must be a list of texts, like { 'app', 'shop_*' }"):format(name)
    end
  end
end

--- What is wrong with the options of a collector of statements, beyond their types.
---@param given table top, min_calls, text_max, text_cache (whole numbers); databases, exclude (lists of texts)
---@return string|nil problem
function M.problem(given)
  for _, name in ipairs { "top", "min_calls", "text_max", "text_cache" } do
    local value = given[name]
    if value < 0 or value % 1 ~= 0 then
      return ("option '%s' must be a whole number from 0, got %g"):format(name, value)
    end
  end
  return list_problem("databases", given.databases) or list_problem("exclude", given.exclude)
end

-- What a column of the view is called in records.
local function field_of(column, names)
  return names[column] or (column:gsub("_time$", "_time_ms"))
end

local function order_of(options_given, columns, names)
  if options_given.top == 0 then return "" end
  local given, known = options_given.order_by, {}
  for i, column in ipairs(columns) do
    known[i] = field_of(column, names)
    if given == column or given == known[i] then return ("order by s.%s desc"):format(column) end
  end
  return nil, ("option 'order_by': the view has no column '%s'%s"):format(given, options.hint(given, known))
end

local function fill(template, values)
  return (template:gsub("{(%w+)}", values))
end

--- The SQL of a server's statements, completed for its version and the collector's options.
---@param found {name: string, columns: string, info: boolean} the view with its schema, its columns with blanks
--- between, and whether there is a view of the same name with _info behind it
---@param given table top, order_by, min_calls, databases
---@param templates {statements: string, info: string, names: table<string, string>} SQL with {columns}, {view},
--- {texts}, {conditions} and {order} to be filled in; and what columns are called in records, where not by their name
---@return table|nil reads for M.collect: counters, texts, missing, info
---@return string|nil cause
function M.reads(found, given, templates)
  local columns, fields = {}, {}
  for column in found.columns:gmatch "%S+" do
    if column ~= "queryid" and column ~= "query" then
      columns[#columns + 1] = column
      fields[#fields + 1] = ("s.%s as %s"):format(column, field_of(column, templates.names))
    end
  end
  local order, cause = order_of(given, columns, templates.names)
  if not order then return nil, cause end
  local conditions = ("s.calls >= %d"):format(given.min_calls)
  if #given.databases > 0 then
    conditions = ("%s and %s"):format(conditions, resource.wanted { databases = given.databases })
  end
  local function sql(with_texts, more)
    return fill(templates.statements, {
      columns = table.concat(fields, ", ") .. (with_texts and ", s.query" or ""),
      view = found.name,
      texts = tostring(with_texts),
      conditions = conditions .. (more or ""),
      order = order,
    })
  end
  return {
    counters = sql(false),
    texts = sql(true),
    missing = sql(true, " and s.queryid in (select unnest($1::int8[]))"),
    info = found.info and fill(templates.info, { view = found.name }) or nil,
  }
end

-- Sends the changed statements among the rows, waiting while the sink has no room.
local function send(tracker, chunk, run)
  local row = 0
  while true do
    local done, cause = tracker:rows(chunk, run.sink, run.batch, row)
    if type(done) ~= "number" then return assert(done, cause) end
    row = done
    task.wait(run.sink)
  end
end

local function new_tracker(run, keep)
  local given = run.options
  local writer = record.writer(run:envelope(), { data_type = "query" })
  return core.tracker(writer.core, texts, {
    top = given.top,
    mask_passwords = given.mask_passwords,
    text_max = given.text_max,
    text_cache = given.text_cache,
    exclude = given.exclude,
    keep = keep,
  })
end

-- Whether records of the collections before were lost on their way: their statements may not change again.
local function were_lost(state)
  local pending, lost = {}, false
  for _, batch in ipairs(state.batches) do
    local _, under_way, failed = sink.status(batch)
    if under_way > 0 then pending[#pending + 1] = batch end
    lost = lost or (under_way == 0 and failed > 0)
  end
  state.batches = pending
  return lost
end

local function is_due(at, now)
  return not at or now >= at
end

-- One read of statements in its transaction. Returns the failure of the read, or nil and the cause of all failing.
local function read(run, tracker, reads, name, sql, args)
  local list = { unpack(reads.before) }
  if reads.info and name == "statements" then
    list[#list + 1] = {
      name = "info",
      sql = reads.info,
      each = function(rows)
        if tracker:constants(rows) then run.state.text_due = nil end
      end,
    }
  end
  list[#list + 1] = { name = name, sql = sql, args = args, each = function(rows) send(tracker, rows, run) end }
  local failures, cause = run:snapshot(nil, list)
  if not failures then return nil, cause end
  return failures[name] or failures.info or false
end

-- Reads all statements: with their texts when all are wanted, as the tracker has none to go on with; else without.
local function read_all(run, tracker, reads, with_texts)
  local state = run.state
  local failure, cause
  if with_texts then
    failure, cause = read(run, tracker, reads, "statements", reads.texts)
    if failure == nil then return nil, cause end
    state.bare = failure and NO_TEXT[failure.sqlstate] or false
    if not state.bare then return failure end
    tracker:begin(run.time, state.full, true, false)
  end
  return read(run, tracker, reads, "statements", reads.counters)
end

-- Reads what the new statements are.
local function read_missing(run, tracker, reads, now)
  local state, missing = run.state, tracker:missing()
  if not missing or not is_due(state.text_due, now) then return end
  state.text_due = now + sys.duration(run.options.text_every) * TICK
  local failure, cause = read(run, tracker, reads, "texts", reads.missing, { missing })
  if failure == nil then return cause end
  state.bare = failure and NO_TEXT[failure.sqlstate] or false
  if failure and not state.bare then return failure.text end
end

-- A target that was dropped has its texts in the store until it is collected as garbage: without it there may be room,
-- and the next collection tries. Code that was compiled while it was collected from holds its functions, and with them
-- all that is its own.
local function make_room(state, over)
  state.retry, state.over = over and not state.over, over
  if not state.retry then return end
  jit.flush()
  collectgarbage()
end

local function tell_over(run, over)
  run:tell("query texts do not fit the cache", over, ("those of all targets may take %g MiB (option 'text_cache'): the "
    .. "server sends this target's each time"):format(run.options.text_cache / 2 ^ 20))
end

local function tell_bare(run, bare)
  if not bare then return run:tell("query texts are left out", false) end
  run:partial("query texts are left out", "a statement of a SQL_ASCII database is no UTF-8: let dbname be that "
    .. "database and create the extension there, or SELECT pg_stat_statements_reset()")
end

--- Collects the statements of a run's target: sends a record of each that is new or changed; of all at first, each
--- `full_every`, and after records were lost.
---@param run dbobs.run with the options top, mask_passwords, text_max, text_cache, exclude, full_every, text_every
---@param reads {counters: string, texts: string, missing: string, info: string|nil, before: table[], keep: string[]}
--- SQL that reads the counters of all statements, in order where `top` is not 0; the same with their texts in the
--- column "query"; that of the statements whose queryid is in the array $1; one row whose columns go with each record;
--- statements that run before, see dbobs.guest; texts that are to be sent though they begin as ours do
---@return boolean|nil ok, string|nil cause, table|nil failure of the read
function M.collect(run, reads)
  local state, now = run.state, sys.monotonic()
  if not state.tracker or state.keep ~= reads.keep then
    state.tracker, state.keep, state.batches, state.full_due = new_tracker(run, reads.keep), reads.keep, {}, nil
  end
  local tracker = state.tracker
  local due = is_due(state.full_due, now)
  local again = due or state.retry or false
  local with_texts = again or tracker:over()
  -- After a collection that failed, what it was to send again is still to be sent.
  state.full = were_lost(state) or state.full or due
  tracker:begin(run.time, state.full, state.bare, again)
  table.insert(state.batches, run.batch)
  local failure, cause = read_all(run, tracker, reads, with_texts)
  if failure then return nil, failure.text, failure end
  if failure == nil then return nil, cause end
  if due then state.full_due = now + sys.duration(run.options.full_every) * TICK end
  local problem = read_missing(run, tracker, reads, now)
  state.full = false
  tracker:finish(true)
  if problem then run:partial("new statements wait for their texts", problem)
  else run:tell("new statements wait for their texts", false) end
  make_room(state, tracker:over())
  tell_over(run, tracker:over())
  tell_bare(run, state.bare)
  return true
end

return M
