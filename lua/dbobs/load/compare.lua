--- What changed between two load tests, and whether it is more than noise.
local cjson = require "cjson"
local sys = require "dbobs.core.sys"

local M = {}

-- A difference counts when it is this many standard errors, and this share of the figure, or more.
local ERRORS, SHARE = 3, 0.02

local function read(path)
  local file, cause = io.open(path, "rb")
  if not file then return nil, "cannot read " .. cause end
  local text = file:read "*a"
  file:close()
  local ok, value = pcall(cjson.decode, text)
  if not ok or type(value) ~= "table" or type(value.total) ~= "table" or type(value.timeline) ~= "table" then
    return nil, ("%s is no result of a load test (json= writes one)"):format(path)
  end
  return value
end

-- Mean and standard error over the ticks of a run: how much a figure moves by itself.
local function spread(run, field)
  local n, sum, squares = 0, 0, 0
  for _, point in ipairs(run.timeline) do
    local value = tonumber(point[field]) or 0
    n, sum, squares = n + 1, sum + value, squares + value * value
  end
  if n < 3 then return nil end
  local mean = sum / n
  local variance = math.max(0, (squares - n * mean * mean) / (n - 1))
  return mean, math.sqrt(variance / n), n
end

--- Judges one figure of two runs.
---@param a table
---@param b table results, see dbobs.load.result
---@param field string of the ticks: "rate", "p50_ms", "p99_ms"
---@param before number the whole run's figure
---@param after number
---@return string verdict
function M.verdict(a, b, field, before, after)
  local _, error_a = spread(a, field)
  local _, error_b = spread(b, field)
  if not (error_a and error_b) then return "too short to tell (fewer than 3 ticks)" end
  local difference = math.abs(after - before)
  local noise = math.sqrt(error_a * error_a + error_b * error_b)
  if difference < ERRORS * noise or difference < SHARE * math.abs(before) then
    return ("within the noise (%.3f at 3 standard errors)"):format(ERRORS * noise)
  end
  local better = (after > before) == (field == "rate")
  return better and "BETTER" or "WORSE"
end

local function line(name, before, after, verdict)
  local change = before ~= 0 and ("%+.1f %%"):format((after - before) / before * 100) or "-"
  return ("%-24s %12.3f %12.3f %10s  %s\n"):format(name, before, after, change, verdict or "")
end

local function times_of(one) return one.response or one.service end

local function by_name(list)
  local names = {}
  for _, one in ipairs(list) do names[one.name] = one end
  return names
end

-- Options that differ: then the runs are not of the same test.
local function differences(a, b)
  local lines = {}
  local names = {}
  for name in pairs(a.options) do names[name] = true end
  for name in pairs(b.options) do names[name] = true end
  local sorted = {}
  for name in pairs(names) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  for _, name in ipairs(sorted) do
    local files = name == "json" or name == "html" or name == "hgrm"
    if not files and a.options[name] ~= b.options[name] then
      lines[#lines + 1] = ("  option %s: %s, then %s\n"):format(name, tostring(a.options[name]),
        tostring(b.options[name]))
    end
  end
  return table.concat(lines)
end

--- The comparison as text.
---@param a table
---@param b table
---@return string
function M.text(a, b)
  local parts = { ("%s (%s), then %s (%s)\n"):format(a.workload, a.started, b.workload, b.started), differences(a, b) }
  parts[#parts + 1] = ("%-24s %12s %12s %10s\n"):format("", "before", "after", "change")
  parts[#parts + 1] = line("rate/s", a.total.rate, b.total.rate, M.verdict(a, b, "rate", a.total.rate, b.total.rate))
  local x, y = times_of(a.total), times_of(b.total)
  parts[#parts + 1] = line("p50 ms", x.p50_ms, y.p50_ms, M.verdict(a, b, "p50_ms", x.p50_ms, y.p50_ms))
  parts[#parts + 1] = line("p99 ms", x.p99_ms, y.p99_ms, M.verdict(a, b, "p99_ms", x.p99_ms, y.p99_ms))
  for _, field in ipairs { "mean_ms", "p999_ms", "max_ms" } do
    parts[#parts + 1] = line((field:gsub("_ms", " ms")), x[field], y[field])
  end
  parts[#parts + 1] = line("client CPU us/event", a.total.cpu_us_per_event, b.total.cpu_us_per_event)
  parts[#parts + 1] = line("errors", a.total.failed, b.total.failed)
  local others = by_name(b.events)
  for _, event in ipairs(a.events) do
    local other = others[event.name]
    if other and #a.events > 1 then
      parts[#parts + 1] = line(event.name .. " rate/s", event.rate, other.rate)
      parts[#parts + 1] = line(event.name .. " p99 ms", times_of(event).p99_ms, times_of(other).p99_ms)
    end
  end
  return table.concat(parts)
end

--- Compares two files that json= wrote. Returns true, or nil and the problem.
function M.run(path_a, path_b)
  local a, problem = read(path_a)
  if not a then return nil, problem end
  local b
  b, problem = read(path_b)
  if not b then return nil, problem end
  sys.write(M.text(a, b))
  return true
end

return M
