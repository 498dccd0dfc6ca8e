--- Targets from a query: each row is one, its columns are the parameters.
local cjson = require "cjson"
local guest = require "dbobs.guest"
local postgres = require "dbobs.postgres"
local target_module = require "dbobs.target"

local M = {}

--- What the query's connection is called in messages.
---@param on table|string
---@return string
function M.title(on)
  local about = postgres.effective(on) or {}
  return ("query on %s:%s"):format(about.host or "a local socket", about.port or "?")
end

-- Options that are tables, like tags, come as JSON.
local function entry_of(row)
  local entry = {}
  for column, value in pairs(row) do
    entry[column] = value
    if target_module.own[column] == "table" and type(value) == "string" then
      local ok, decoded = pcall(cjson.decode, value)
      if ok then entry[column] = decoded end
    end
  end
  return entry
end

--- Asks for the rows, read-only and limited in time.
---@param sql string
---@param on table|string connection parameters
---@return table[]|nil entries, string|nil problem
function M.ask(sql, on)
  local db, cause = postgres.connect(on)
  if not db then return nil, cause end
  local entries = {}
  local ok, failures, problem = pcall(guest.snapshot, db, {
    { name = "query", sql = sql, each = function(chunk)
      for _, row in ipairs(chunk:rows()) do entries[#entries + 1] = entry_of(row) end
    end },
  })
  db:close()
  if not ok then error(failures, 0) end
  if not failures then return nil, problem end
  if failures.query then return nil, failures.query.text end
  return entries
end

return M
