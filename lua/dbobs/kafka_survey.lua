--- What is in a Kafka cluster: brokers, topics with their partitions and ends, consumer groups. Asked through a client
--- of dbobs.kafka; nothing is changed or created.
require "dbobs.core.kafka"
local core = require "dbobs.core.kafka_survey"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

local SECONDS = 10
-- As many groups as one request takes.
local GROUPS = 256

-- Starts a request and waits for its answer.
local function ask(what, client, timeout, fn, ...)
  local arguments = { ... }
  arguments[#arguments + 1] = sys.duration(timeout or SECONDS)
  if not client.core then return nil, ("kafka.%s: the client is closed"):format(what) end
  local request, cause = fn(client.core, unpack(arguments))
  if not request then return nil, ("kafka.%s: %s"):format(what, cause) end
  while true do
    local result, problem = request:result()
    if result == nil then return nil, ("kafka.%s: %s"):format(what, problem) end
    if result ~= false then return result end
    task.wait(request)
  end
end

---@class dbobs.kafka.partition
---@field id integer
---@field leader integer a broker's id, -1 while it has none
---@field replicas integer
---@field in_sync integer how many of them are up to date
---@field error string|nil

---@class dbobs.kafka.cluster
---@field brokers {id: integer, host: string, port: integer}[]
---@field topics {name: string, error: string|nil, partitions: dbobs.kafka.partition[]}[]

--- The brokers and topics.
---@param client dbobs.kafka.producer
---@param timeout string|number|nil duration, 10 s by default
---@return dbobs.kafka.cluster|nil cluster, string|nil error
function M.cluster(client, timeout)
  return ask("cluster", client, timeout, core.cluster)
end

--- Where partitions begin or end, or where their first record from a time on is. Ask only for topics that exist:
--- asking may make the broker create others.
---@param client dbobs.kafka.producer
---@param places table<string, integer[]> partitions of topics
---@param which "beginning"|"end"|number milliseconds since 1970
---@param timeout string|number|nil duration, 10 s by default
---@return table<string, table<integer, integer>>|nil offsets by topic and partition; those that have no answer, or
---  no record from that time on, are missing
---@return string|nil error
function M.offsets(client, places, which, timeout)
  if next(places) == nil then return {} end
  return ask("offsets", client, timeout, core.offsets, places, which)
end

--- The consumer groups.
---@param client dbobs.kafka.producer
---@param timeout string|number|nil duration, 10 s by default
---@return {name: string, state: string}[]|nil groups sorted by name, string|nil error
function M.groups(client, timeout)
  local groups, cause = ask("groups", client, timeout, core.groups)
  if groups then table.sort(groups, function(a, b) return a.name < b.name end) end
  return groups, cause
end

--- The members of groups.
---@param client dbobs.kafka.producer
---@param names string[]
---@param timeout string|number|nil duration, 10 s by default
---@return table<string, {state: string, error: string|nil,
---  members: {client: string, host: string, partitions: integer}[]}>|nil groups, string|nil error
function M.members(client, names, timeout)
  local all = {}
  for first = 1, #names, GROUPS do
    local some, cause = ask("members", client, timeout, core.members,
      { unpack(names, first, math.min(first + GROUPS - 1, #names)) })
    if not some then return nil, cause end
    for name, group in pairs(some) do all[name] = group end
  end
  return all
end

--- The committed offsets of a group.
---@param client dbobs.kafka.producer
---@param group string
---@param timeout string|number|nil duration, 10 s by default
---@return table<string, table<integer, integer>>|nil offsets by topic and partition, string|nil error
function M.committed(client, group, timeout)
  return ask("committed", client, timeout, core.committed, group)
end

return M
