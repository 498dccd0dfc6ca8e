--- What the commands about Kafka share: the brokers they talk to, and waiting for work or the order to stop.
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

-- Options that each of these commands takes.
M.options = { ["--brokers"] = "string", ["--config"] = "string" }

M.usage = [[
  --brokers LIST   host:port,... (default: KAFKA_BOOTSTRAP_SERVERS, else localhost:9092)
  --config FILE    librdkafka properties, one name=value a line, as for TLS and passwords
]]

-- "name=value" lines, as Kafka's own tools read them; '#' begins a comment.
local function read_properties(path)
  local file, cause = io.open(path, "rb")
  if not file then return nil, "cannot read the properties: " .. cause end
  local properties, number = {}, 0
  for line in (file:read "*a" or ""):gmatch "[^\r\n]+" do
    number = number + 1
    local name, value = line:match "^%s*([%w._-]+)%s*=%s*(.-)%s*$"
    if name then
      properties[name] = value
    elseif not line:match "^%s*#" and not line:match "^%s*$" then
      file:close()
      return nil, ("%s:%d: name=value expected"):format(path, number)
    end
  end
  file:close()
  return properties
end

--- The properties that a command's options ask for.
---@param given table the command's options
---@return table<string, string>|nil properties, string|nil problem
function M.properties(given)
  local properties = {}
  if given.config then
    local read, problem = read_properties(given.config)
    if not read then return nil, problem end
    properties = read
  end
  local environment = os.getenv "KAFKA_BOOTSTRAP_SERVERS"
  if environment == "" then environment = nil end
  properties["bootstrap.servers"] = given.brokers or properties["bootstrap.servers"] or environment or "localhost:9092"
  if properties["bootstrap.servers"] == "embedded" then
    return nil, "an embedded broker lives inside the process that started it: give its address with --brokers"
  end
  return properties
end

--- Waits until `done()`, the time is over, or dbobs is told to stop. The end of each task is a reason to look again.
---@param done fun(): boolean
---@param seconds number|nil
---@return boolean done false when it was the time or the order
function M.wait_for(done, seconds)
  local orders = sys.orders()
  local until_time = seconds and sys.monotonic() + seconds
  while not done() do
    local _, must_stop = sys.order()
    local left = until_time and until_time - sys.monotonic()
    if must_stop or (left and left <= 0) then return false end
    task.wait(orders, left)
  end
  return true
end

-- What `interruptible` says when the time was over or dbobs was told to stop.
M.STOPPED = "stopped"

--- Runs `fn(...)` in a task that is cancelled when the time is over or dbobs is told to stop.
---@param fn function returns a value, or nil and a cause
---@param seconds number|nil
---@return any value nil when it failed or was stopped
---@return string|nil cause STOPPED, or what fn returned or raised
function M.interruptible(fn, seconds, ...)
  local results
  local worker = task.spawn(function(...)
    results = { pcall(fn, ...) }
  end, ...)
  if not M.wait_for(function() return results ~= nil end, seconds) then
    task.cancel(worker)
    return nil, M.STOPPED
  end
  if results[1] then return results[2], results[3] end
  return nil, tostring(results[2])
end

return M
