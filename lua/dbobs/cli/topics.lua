--- dbobs topics: lists topics, shows one, creates them.
local cjson = require "cjson"
local kafka = require "dbobs.kafka"
local log = require "dbobs.log"
local options = require "dbobs.options"
local sys = require "dbobs.core.sys"
local terminal = require "dbobs.terminal"
local tool = require "dbobs.kafka_tool"

local M = {}

M.usage = [[
Usage: dbobs topics [list] [options]
       dbobs topics describe TOPIC [options]
       dbobs topics create [TOPIC...] [options]

Lists the topics of a Kafka cluster, shows a topic's configuration, or creates topics: without a name those that
pipelines/pg.lua writes to, with their retention. Topics that exist already are left as they are, and told.

]] .. tool.usage .. [[
  --timeout T      how long to wait for the brokers (default: 10s)
  --json           one JSON object a line (list, describe)
  --partitions N   create: how many (default: the broker's)
  --replication N  create: copies of each partition (default: the broker's)
  --retention T    create: how long records are kept, like 7d (default: the pipeline's, else the broker's)
]]

M.options = {
  ["--brokers"] = "string",
  ["--config"] = "string",
  ["--json"] = "boolean",
  ["--partitions"] = "number",
  ["--replication"] = "number",
  ["--retention"] = "duration",
  ["--timeout"] = "duration",
}

local actions = {}

function actions.list(client, _, given)
  local topics, cause = client:topics(given.timeout)
  if not topics then return nil, cause end
  local rows = {}
  for i, topic in ipairs(topics) do
    if given.json then sys.write(cjson.encode(topic) .. "\n") end
    rows[i] = { topic.name, topic.partitions, topic.replication }
  end
  if given.json then return 0 end
  terminal.output():table({ { title = "topic", least = 10 }, { title = "partitions", right = true },
    { title = "replication", right = true } }, rows)
  return 0
end

function actions.describe(client, names, given)
  for _, name in ipairs(names) do
    local config, cause = client:describe(name, given.timeout)
    if not config then return nil, cause end
    if given.json then
      sys.write(cjson.encode { name = name, config = config } .. "\n")
    else
      local keys = {}
      for key in pairs(config) do keys[#keys + 1] = key end
      table.sort(keys)
      for _, key in ipairs(keys) do sys.write(("%s  %s=%s\n"):format(name, key, config[key])) end
    end
  end
  return 0
end

-- The topics of pipelines/topics.lua and how each is to be made, asked from its own create function.
local function pipeline_topics()
  local names, made = {}, {}
  require("topics").create {
    ensure_topic = function(_, name, how)
      names[#names + 1] = name
      made[name] = how
    end,
  }
  table.sort(names)
  return names, made
end

function actions.create(client, names, given)
  local own, made = pipeline_topics()
  local code = 0
  for _, name in ipairs(#names > 0 and names or own) do
    local config = {}
    for key, value in pairs(made[name] and made[name].config or {}) do config[key] = value end
    if given.retention then config["retention.ms"] = math.floor(given.retention * 1000) end
    local ok, cause, reason = client:create_topic(name,
      { partitions = given.partitions, replication = given.replication, config = config, timeout = given.timeout })
    if ok then
      sys.write(("created  %s\n"):format(name))
    elseif reason == "TOPIC_ALREADY_EXISTS" then
      sys.write(("exists   %s\n"):format(name))
    else
      log.error("cannot create the topic", { topic = name, error = cause })
      code = 1
    end
  end
  return code
end

local function execute(action, properties, names, given)
  local client = kafka.producer(properties)
  local code, cause = action(client, names, given)
  client:close()
  return code, cause
end

function M.run(arguments, given)
  local name = table.remove(arguments, 1) or "list"
  local action = actions[name]
  if not action then
    return nil, ("unknown action '%s'%s"):format(name, options.hint(name, { "list", "describe", "create" }))
  end
  if name == "list" and arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  if name == "describe" and not arguments[1] then return nil, "which TOPIC?" end
  local properties, problem = tool.properties(given)
  if not properties then return nil, problem end
  local code, cause = tool.interruptible(execute, nil, action, properties, arguments, given)
  if code then return code end
  if cause == tool.STOPPED then return 1 end
  log.error(cause, { brokers = properties["bootstrap.servers"] })
  return 1
end

return M
