--- Where the figures of a load test go beside the terminal: JSON, .hgrm, a page, a Kafka topic.
local json = require "cjson"
local env = require "dbobs.environment"
local output = require "dbobs.output"
local page = require "dbobs.load.page"

local sink = require "dbobs.sink"
local task = require "dbobs.task"

local M = {}

local DELIVERY_SECONDS = 30

local function write_file(path, content)
  local file, cause = io.open(path, "wb")
  if not file then return nil, "cannot write " .. cause end
  local written, problem = file:write(content)
  local closed, close_problem = file:close()
  if not (written and closed) then return nil, ("cannot write %s: %s"):format(path, problem or close_problem) end
  return true
end

-- The distribution as HdrHistogram's own tools write it, in milliseconds.
local function hgrm(times)
  local lines = { "       Value     Percentile TotalCount 1/(1-Percentile)\n\n" }
  for _, step in ipairs(times:percentiles(5)) do
    local share = step[2] / 100
    lines[#lines + 1] = share < 1
      and ("%12.3f %14.12f %10d %14.2f\n"):format(step[1] * 1e3, share, step[3], 1 / (1 - share))
      or ("%12.3f %14.12f %10d\n"):format(step[1] * 1e3, share, step[3])
  end
  lines[#lines + 1] = ("#[Mean    = %12.3f, StdDeviation   = %12.3f]\n"):format(times:mean() * 1e3,
    times:stddev() * 1e3)
  lines[#lines + 1] = ("#[Max     = %12.3f, Total count    = %12d]\n"):format(times:max() * 1e3, times:count())
  return table.concat(lines)
end

-- Lists that may be empty, which cjson takes for objects.
local LISTS = { "broken", "timeline", "statements" }

local function encode(final)
  local text = json.encode(final)
  for _, name in ipairs(LISTS) do text = text:gsub(('"%s":{}'):format(name), ('"%s":[]'):format(name)) end
  return text
end

-- Into a topic of its own; the key is the workload's name.
local function send(topic, final)
  local kafka = output.producer { ["bootstrap.servers"] = env.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092") }
  local batch = sink.batch()
  local ok, cause = task.deadline(DELIVERY_SECONDS, function()
    local sent, problem = sink.send(kafka:topic(topic), final.workload, encode(final), batch)
    if not sent then return nil, problem end
    return sink.wait(batch)
  end)
  output.close(ok and DELIVERY_SECONDS or 0)
  if ok then return true end
  return nil, ("the figures did not reach the topic %s: %s"):format(topic, cause)
end

--- Writes what the options ask for.
---@param final table see dbobs.load.result
---@param all table the histograms
---@param values table option values
---@return boolean|nil ok
---@return string|nil cause
function M.write(final, all, values)
  local ok, cause = true, nil
  if values.json ~= "" then ok, cause = write_file(values.json, encode(final) .. "\n") end
  if ok and values.hgrm ~= "" then ok, cause = write_file(values.hgrm, hgrm(all.response or all.service)) end
  if ok and values.html ~= "" then ok, cause = write_file(values.html, page.render(final, all)) end
  if ok and values.kafka ~= "" then ok, cause = send(values.kafka, final) end
  return ok, cause
end

return M
