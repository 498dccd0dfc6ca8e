--- Several statements of a PostgreSQL connection in one round trip: sending them, preparing those that ask for it, and
--- taking their results in order. The parts that every kind of statement shares are postgres.lua's, given as `use`.
local check = require "dbobs.postgres_check"
local errors = require "dbobs.postgres_error"
local prepared = require "dbobs.postgres_prepared"

local M = {}

-- Rows of a chunk when the caller does not say.
local CHUNK_ROWS = 256

-- The server has forgotten what was prepared (DISCARD ALL, DEALLOCATE); a statement's columns have other types since.
local UNKNOWN_STATEMENT, OTHER_TYPES = "26000", "0A000"

-- Sends what must come before the statement so that it can be executed; notes whose result each is. Returns the entry.
local function prepare(use, db, statement, index, extra, position)
  local entry = prepared.get(db.prepared, statement[1])
  if entry.ready or entry.sent == extra then return entry end
  entry.sent = extra
  extra[position] = { entry = entry, statement = index }
  local ok, cause, state = use.send(db, "pipeline", db.core.prepare, entry.name, entry.text)
  if not ok then return nil, cause, state end
  return entry
end

local function deallocate(use, db, extra)
  local names = prepared.take_stale(db.prepared)
  for i, name in ipairs(names) do
    local ok, cause, state = use.send(db, "pipeline", db.core.deallocate, name)
    if not ok then return nil, cause, state end
    extra[i] = {}
  end
  return #names
end

-- Sends all statements. Returns which results, by their place, are not a statement's own: {} of a deallocated one,
-- {entry, statement} of one that was prepared.
local function send_all(use, db, statements)
  local extra = {}
  local ok, cause, state = deallocate(use, db, extra)
  if not ok then return nil, cause, state end
  local position = ok
  local core, send = db.core, use.send
  for index, statement in ipairs(statements) do
    local count = statement.n or table.maxn(statement)
    position = position + 1
    if statement.execute then
      ok, cause, state = send(db, "pipeline", core.execute, statement.execute, unpack(statement, 1, count))
    elseif statement.prepared and db.direct then
      local entry
      entry, cause, state = prepare(use, db, statement, index, extra, position)
      if not entry then return nil, cause, state end
      if extra[position] then position = position + 1 end
      ok, cause, state = send(db, "pipeline", core.execute, entry.name, unpack(statement, 2, count))
    else
      ok, cause, state = send(db, "pipeline", core.query, unpack(statement, 1, count))
    end
    if not ok then return nil, cause, state end
  end
  ok, cause, state = db.core:sync()
  if not ok then return nil, cause, state end
  return extra
end

-- Hands a chunk of rows to the caller's function. When that raises, rows are still under way: the connection is closed.
local function hand_out(use, db, each, index, rows)
  local ok, cause = pcall(each, index, rows)
  rows:clear()
  if ok then return end
  db:close()
  use.leave(db)
  error(cause, 0)
end

local function note_failure(use, db, statements, index, about, fields)
  local failure = use.of_timeout(db, fields)
  failure.statement = about and about.statement or index
  if about and about.entry then prepared.forget(db.prepared, about.entry) end
  local statement = statements[index]
  local entry = statement and statement.prepared and db.prepared.entries[statement[1]]
  if not entry or about then return failure end
  if failure.sqlstate == UNKNOWN_STATEMENT then prepared.forget_all(db.prepared) end
  if failure.sqlstate == OTHER_TYPES then prepared.forget(db.prepared, entry) end
  failure.forgotten = db.prepared.entries[entry.text] ~= entry
  return failure
end

local function take_all(use, db, statements, extra)
  local results, failure, position, index = {}, nil, 1, 1
  while true do
    local kind, value, command = use.take(db)
    local about = extra[position]
    if kind == nil then return nil, value, command, failure end
    if kind == "copy" then return nil, use.COPY end
    if kind == "sync" then return results, failure end
    if kind == "error" and not failure then failure = note_failure(use, db, statements, index, about, value) end
    if about then
      if kind == "done" and about.entry then about.entry.ready = true end
    elseif kind == "done" or kind == "rows" then
      results[index] = use.to_result(value, command)
    end
    if kind == "end" then
      position = position + 1
      if not about then index = index + 1 end
    end
  end
end

-- The statement of a result, by its place among all results.
local function index_of(extra, position)
  local index = position
  for other in pairs(extra) do
    if other < position then index = index - 1 end
  end
  return index
end

-- What came before the first failure has done its work.
local function note_prepared(extra, failed)
  for position, about in pairs(extra) do
    if about.entry and (not failed or position < failed) then about.entry.ready = true end
  end
end

-- Hands out the rows of all statements as they come; what else a statement brings is not looked at.
local function hand_out_all(use, db, statements, extra, each)
  local failure, failed
  while true do
    local kind, value, command, position = use.take(db, true)
    if kind == nil then return nil, value, command, failure end
    if kind == "copy" then return nil, use.COPY end
    if kind == "sync" then
      note_prepared(extra, failed)
      return {}, failure
    end
    local index = index_of(extra, position)
    if kind == "error" and not failure then
      failed, failure = position, note_failure(use, db, statements, index, extra[position], value)
    end
    if kind == "rows" or kind == "chunk" then hand_out(use, db, each, index, value) end
  end
end

--- The method `pipeline` of a connection, see postgres.lua.
---@param use table enter, leave, send, take, lost, refused, of_timeout, to_result, COPY
---@return fun(db: dbobs.connection, statements: table[], given: table|nil): table[]|nil, string|nil, table|nil
function M.method(use)
  return function(db, statements, given)
    given = given or {}
    check.pipeline(statements, given, 2)
    use.enter(db, "pipeline")
    local ok, cause, state = db.core:pipeline(true)
    if not ok then return use.refused(db, "pipeline", cause, state) end
    db.core:stream(given.each and (given.rows or CHUNK_ROWS) or 0)
    local extra
    extra, cause, state = send_all(use, db, statements)
    if not extra then return use.lost(db, "pipeline", cause, state) end
    local results, failure, lost_state, before
    if given.each then
      results, failure, lost_state, before = hand_out_all(use, db, statements, extra, given.each)
    else
      results, failure, lost_state, before = take_all(use, db, statements, extra)
    end
    if not results then return use.lost(db, "pipeline", failure, lost_state, before) end
    db.core:stream(0)
    db.core:pipeline(false)
    use.leave(db)
    if failure then
      return nil, errors.of_statement(("pipeline: statement %d"):format(failure.statement), failure, db.user)
    end
    return results
  end
end

return M
