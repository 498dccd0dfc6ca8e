--- Where a pipeline's records go: to Kafka, with `--to stdout` to standard output, with `dbobs check` nowhere; without
--- the pipeline knowing.
local M = {}

local selected, selected_form = "kafka", nil
local open = {}

--- Chooses for the whole process, before the pipeline runs.
---@param name "kafka"|"stdout"|"check"
---@param form "json"|"text"|"details"|nil how records are printed on standard output
function M.select(name, form)
  selected, selected_form = name, form
end

-- Takes the place of a producer: topics that print, nothing to create, nothing to flush.
local stdout = {}
stdout.__index = stdout

function stdout.topic(_, name) return require("dbobs.sink").stdout(name, selected_form) end
function stdout.ensure_topic() return true end
function stdout.create_topic() return true end
function stdout.flush() return true end
function stdout.close() return true end

--- A producer with librdkafka's properties, or what stands for it.
---@param properties table<string, string|number|boolean>
---@return dbobs.kafka.producer producer
function M.producer(properties)
  if selected == "stdout" then return setmetatable({}, stdout) end
  local producer = require("dbobs.kafka").producer(properties)
  -- A check must not create topics either.
  if selected == "check" then producer.ensure_topic = function() return true end end
  open[#open + 1] = producer
  return producer
end

--- Whether records are printed on standard output.
---@return boolean
function M.is_stdout()
  return selected == "stdout"
end

--- The producers that the pipeline made.
---@return table[]
function M.producers()
  return open
end

--- Waits until everything is delivered, then closes the producers.
---@param timeout number seconds
---@return boolean ok whether nothing was left undelivered
function M.close(timeout)
  local ok = true
  for _, producer in ipairs(open) do
    ok = producer:flush(timeout) == true and ok
    producer:close()
  end
  open = {}
  return ok
end

return M
