--- Runs a collector of pipelines/ once on a target and keeps what it sends.
local cjson = require "cjson"
local memory = require "dbobs.core.memory"
local pool = require "dbobs.pool"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local target = require "dbobs.target"

local M = {}

--- A run whose conditions and partial failures are in `told`, as texts.
---@param collector table
---@param given table the target, as in targets.lua
---@param options table|nil over the collector's defaults
function M.run(collector, given, options)
  local all = {}
  for name, value in pairs(collector.options or {}) do all[name] = value end
  for name, value in pairs(options or {}) do all[name] = value end
  local out = memory()
  local current = run.new({ target = assert(target.new(given)), collector = collector, options = all, state = {} },
    out, sink.batch())
  current.told, current.out = {}, out
  function current:partial(what, why) table.insert(self.told, ("%s: %s"):format(what, why)) end
  function current:tell(what, active, why)
    if active then self:partial(what, why) end
  end
  return current
end

--- One text of each shape of record that a collector sent: the same kind of event with the same fields.
M.shapes = {}

--- Keeps the shapes of records for support.schema.
---@param records table[] as M.records returns them
---@return table[] records
function M.keep(records)
  for _, record in ipairs(records) do
    local names = { record.data_type, tostring(record.payload.event_type) }
    for name, value in pairs(record.payload) do names[#names + 1] = name .. ":" .. type(value) end
    table.sort(names)
    M.shapes[table.concat(names, " ")] = record.text
  end
  return records
end

--- Collects once.
---@return table[] records decoded, in order, each with its key
---@return table run with what it told
function M.collect(collector, given, options)
  local current = M.run(collector, given, options)
  assert(collector.collect(current))
  pool.close(current.target)
  return M.keep(M.records(current.out)), current
end

--- Collects once more with the run of the collections before: its state is kept, its time is now.
---@param current table what M.run gave
---@return table[] records
function M.again(current)
  current.time, current.batch, current.told = sys.wall(), sink.batch(), {}
  assert(current.collector.collect(current))
  return M.keep(M.records(current.out))
end

--- What a memory sink holds, decoded.
function M.records(out)
  local records = {}
  for i, one in ipairs(out:take()) do
    records[i] = cjson.decode(one.value)
    records[i].key, records[i].text = one.key, one.value
  end
  return records
end

return M
