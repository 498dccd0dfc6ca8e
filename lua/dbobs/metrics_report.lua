--- What a run of the metrics collector tells of its parts: which failed, which are well again. What is well and was is
--- not worth a word, nor the work of making one: there are many parts in many databases.
local M = {}

local function told(run)
  run.state.told = run.state.told or {}
  return run.state.told
end

-- Whether there is anything to be said; remembers what is.
local function changes(run, cause, what, database)
  local known = told(run)
  if not cause and known[what] == nil then return false end
  known[what] = cause and (database or true) or nil
  return true
end

--- Tells that a part failed, or that it is well again.
---@param run dbobs.run
---@param cause string|nil why it failed
---@param part string
---@param database string|nil in which database
function M.part(run, cause, part, database)
  if not cause and next(told(run)) == nil then return end
  local what = database and ("%s in database %s"):format(part, database) or part
  if not changes(run, cause, what, database) then return end
  if cause then run:partial(what, cause) else run:tell(what, false) end
end

--- Tells of something that is no failure of ours, for as long as it lasts.
---@param run dbobs.run
---@param cause string|nil nil: it does not hold
---@param what string with the database's name, if it is about one
---@param database string|nil
function M.condition(run, cause, what, database)
  if changes(run, cause, what, database) then run:tell(what, cause ~= nil, cause) end
end

--- Tells of each statement whether it failed.
---@param run dbobs.run
---@param failures table<string, table> see dbobs.guest.snapshot
---@param statements {name: string}[]
---@param database string|nil
function M.statements(run, failures, statements, database)
  for _, statement in ipairs(statements) do
    local failure = failures[statement.name]
    M.part(run, failure and failure.text, statement.name, database)
  end
end

--- Tells what did not become points, and why a record was lost.
---@param run dbobs.run
---@param request dbobs.otlp.request
---@param database string|nil
---@param lost string|nil
function M.request(run, request, database, lost)
  local unreadable, metric = select(4, request:counts())
  local cause = metric and ("%s: %d that are no number, or too large"):format(metric, unreadable)
  M.part(run, cause, "values", database)
  M.part(run, lost, "records", database)
end

--- What was told of databases that are not there any more is over.
---@param run dbobs.run
---@param listed table<string, any> by name
function M.forget_others(run, listed)
  for what, database in pairs(told(run)) do
    if database ~= true and not listed[database] then
      run.state.told[what] = nil
      run:tell(what, false)
    end
  end
end

return M
