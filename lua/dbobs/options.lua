--- Checks tables of options, so that a misspelt name or a wrong type is told where it was written.
local sys = require "dbobs.core.sys"

local M = {}

-- Levenshtein distance of two short names.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

--- The name of `names` that `given` was most likely meant to be.
---@param given string
---@param names string[]
---@return string|nil nearest nil when none is near
function M.nearest(given, names)
  local best, best_distance
  for _, name in ipairs(names) do
    local d = distance(given:lower(), name:lower())
    if not best or d < best_distance or (d == best_distance and name < best) then best, best_distance = name, d end
  end
  if best and best_distance <= math.max(2, math.floor(#given / 3)) then return best end
end

--- ": did you mean 'x'?" or a list of what there is.
---@param given string
---@param names string[]
---@return string
function M.hint(given, names)
  local nearest = M.nearest(given, names)
  if nearest then return ("; did you mean '%s'?"):format(nearest) end
  if #names == 0 then return "; it takes none" end
  local sorted = { unpack(names) }
  table.sort(sorted)
  return "; known are: " .. table.concat(sorted, ", ")
end

local function matches(value, expected)
  if type(expected) == "table" then
    for _, allowed in ipairs(expected.one) do
      if value == allowed then return true end
    end
    return false
  end
  if expected == "any" then return true end
  if expected == "duration" then return pcall(sys.duration, value) end
  for kind in expected:gmatch "[^|]+" do
    if type(value) == kind then return true end
  end
  return false
end

local function describe(expected)
  if type(expected) == "table" then return "one of " .. table.concat(expected.one, ", ") end
  if expected == "duration" then return 'a duration like "30s" or "5m"' end
  return (expected:gsub("|", " or "))
end

--- What is wrong with a table of options.
---@param given table
---@param known table<string, string|{one: any[]}> name -> "string", "number|string", "duration", "any", {one = {...}}
---@param what string whose options they are, for the message
---@return string|nil problem nil when all is well
function M.problem(given, known, what)
  if type(given) ~= "table" then return ("%s: a table expected, got %s"):format(what, type(given)) end
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  for name, value in pairs(given) do
    local expected = known[name]
    if expected == nil then
      return ("%s: unknown option '%s'%s"):format(what, tostring(name), M.hint(tostring(name), names))
    end
    if not matches(value, expected) then
      local got = type(value) == "string" and ("'%s'"):format(value) or type(value)
      return ("%s: option '%s' must be %s, got %s"):format(what, name, describe(expected), got)
    end
  end
end

--- Raises when a table has an option that is not known or of another type; with the nearest known name.
---@param given table
---@param known table<string, string|{one: any[]}> name -> "string", "number|string", "duration", "any", {one = {...}}
---@param what string whose options they are, for the message
---@param level integer|nil whose line the error names; 2, the default, is the caller's caller
function M.check(given, known, what, level)
  local problem = M.problem(given, known, what)
  if problem then error(problem, (level or 2) + 1) end
end

return M
