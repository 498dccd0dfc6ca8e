--- Scrapes as files under tests/golden: what is sent, in an order of its own and with one line for each point, so that
--- a change of the output shows as a difference. With UPDATE_GOLDEN=1 in the environment the files are written anew.
local M = {}

-- These are the same each time; the values of all others read *.
local EXACT = {
  "connection.max", "database.count", "database.locks", "deadlocks", "function.calls", "index.size", "operations",
  "query.conflicts", "rows", "sequential_scans", "table.count", "table.size", "table.vacuum.count", "temp.io",
  "temp_files", "vector.insert.rows", "vector.search.calls", "vector.search.rows_returned",
}
for _, name in ipairs(EXACT) do EXACT["postgresql." .. name] = true end

-- How often we have called it ourselves depends on when the server counts.
local OWN_CALLS = "function=pg_stat_statements"

-- What differs from machine to machine and from run to run.
local VOLATILE = {
  ["host.name"] = true, ["service.instance.id"] = true, ["server.port"] = true,
}

local HEADER = "# What the metrics collector sends, every metric switched on. Values that vary read *.\n"
  .. "# To write it anew: UPDATE_GOLDEN=1 tests/run.sh tests/spec/live/metrics_versions_spec.lua\n"

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function kind_of(metric)
  if metric.gauge then return "gauge" end
  return metric.sum.isMonotonic and "counter" or "sum"
end

-- Attributes that every resource has alike.
local function common_of(points)
  local common = {}
  for name, value in pairs(points[1].resource) do common[name] = value end
  for _, point in ipairs(points) do
    for name, value in pairs(common) do
      if point.resource[name] ~= value then common[name] = nil end
    end
  end
  return common
end

local function text_of(resource, common)
  local list = {}
  for _, name in ipairs(sorted_keys(resource)) do
    if not common[name] then list[#list + 1] = ("%s=%q"):format(name, resource[name]) end
  end
  return table.concat(list, " ")
end

-- The metrics: what each is. Then the resources, and under each its points.
local function lines_of_metrics(points, out)
  local metrics = {}
  for _, point in ipairs(points) do
    metrics[point.metric.name] = ("%s, %s, unit %s, \"%s\""):format(kind_of(point.metric),
      point.point.asInt and "int" or "double", point.metric.unit, point.metric.description)
  end
  for _, name in ipairs(sorted_keys(metrics)) do out[#out + 1] = ("%s: %s"):format(name, metrics[name]) end
end

local function lines_of_resources(points, common, out)
  local resources = {}
  for _, point in ipairs(points) do
    local title = ("%s  %s"):format(point.key, text_of(point.resource, common))
    resources[title] = resources[title] or {}
    local value = EXACT[point.metric.name] and point.attributes ~= OWN_CALLS and point.value or "*"
    table.insert(resources[title], ("  %s{%s} %s"):format(point.metric.name, point.attributes, value))
  end
  for _, title in ipairs(sorted_keys(resources)) do
    out[#out + 1] = "\n" .. title
    table.sort(resources[title])
    for _, line in ipairs(resources[title]) do out[#out + 1] = line end
  end
end

--- The points as the text of a golden file.
---@param points table[] see support.metrics
---@return string
function M.text(points)
  local common, out = common_of(points), {}
  lines_of_metrics(points, out)
  out[#out + 1] = "\nEvery resource"
  for _, name in ipairs(sorted_keys(common)) do
    out[#out + 1] = ("  %s=%s"):format(name, VOLATILE[name] and "*" or tostring(common[name]))
  end
  lines_of_resources(points, common, out)
  return HEADER .. table.concat(out, "\n") .. "\n"
end

-- The first lines in which two texts differ.
local function difference(expected, got)
  local left, right = expected:gmatch "[^\n]*\n?", got:gmatch "[^\n]*\n?"
  for number = 1, math.huge do
    local a, b = left(), right()
    if a ~= b or a == nil then
      return ("line %d\n  is to be: %s  is:       %s"):format(number, tostring(a), tostring(b))
    end
  end
end

--- Compares points with tests/golden/<name>, or writes it; raises where they differ.
---@param name string
---@param points table[]
function M.check(name, points)
  local path, got = "tests/golden/" .. name, M.text(points)
  if os.getenv "UPDATE_GOLDEN" then
    local file = assert(io.open(path, "wb"))
    file:write(got)
    file:close()
  end
  local file = assert(io.open(path, "rb"))
  local expected = file:read "*a"
  file:close()
  if expected ~= got then error(("%s differs in %s"):format(path, difference(expected, got)), 2) end
end

return M
