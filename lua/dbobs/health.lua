--- The health of a running pipeline, over HTTP: for health checks of systemd, Docker and Kubernetes, and for people.
---
--- The answer is 200 when all is well, and 503 with the reasons when one of these holds:
---   - a collector has not succeeded for three of its periods, at least 60 s (since its start, when it never has);
---   - a log follower failed and has not been well for 5 s since, or has stopped for good;
---   - no Kafka broker can be reached, or Kafka does not take records;
---   - bytes of rotated log files are at risk, because Kafka has taken nothing of a log for 30 s.
--- A part that fails while the rest of a collection is sent is shown, and is no reason.
---
--- Whoever asks by another name than the address or "localhost" is refused (403); so a probe of Kubernetes, which asks
--- by the pod's address, needs the header "Host: localhost", and dbobs.health the address "0.0.0.0:13133".
local cjson = require "cjson"
local counters = require "dbobs.counters"
local http = require "dbobs.http"
local log = require "dbobs.log"
local options = require "dbobs.options"
local output = require "dbobs.output"
local supervisor = require "dbobs.supervisor"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

--- Where health is served unless the pipeline says otherwise; the OpenTelemetry Collector's health_check has it too.
M.address = "127.0.0.1:13133"

local PERIODS, LEAST_SECONDS = 3, 60

local asked, started

--- Asks for the health of this pipeline to be served, once it runs.
---@param given {address: string|nil, hosts: string[]|nil} address: "127.0.0.1:13133" by default, "off" for none; hosts:
---   names besides this machine's address and "localhost" by which it may be asked, as in a container
function M.serve(given)
  options.check(given or {}, { address = "string", hosts = "table" }, "dbobs.health", 2)
  given = given or {}
  local address = given.address or M.address
  if asked and asked.address ~= "off" then error("dbobs.health: it was asked for before", 2) end
  local host, problem = http.address(address)
  if address ~= "off" and not host then error("dbobs.health: " .. problem, 2) end
  asked = { address = address, hosts = given.hosts }
end

local function iso(time)
  return time and timer.iso8601(time) or nil
end

local function age(time, now)
  return time and math.floor((now - time) / 1e5 + 0.5) / 10 or nil
end

-- What is wrong with one part of a job, if anything.
local function problem_of(job, part, status, now)
  if status.stopped then return "stopped for good" end
  if part == "follow" then
    local well = not status.error_time or (status.last_success or 0) > status.error_time
    return not well and "failed" or nil
  end
  local since = status.last_success or status.started
  if (now - since) / 1e6 <= math.max(PERIODS * job.options.every, LEAST_SECONDS) then return nil end
  return ("no success for %.0f s"):format((now - since) / 1e6)
end

-- What is known of where a job's records go, see topic:status; nil when that is no topic. An exactly-once topic has its
-- open transaction.
local function queue_of(job)
  local to = job.options.to
  local ok, status, bytes = pcall(function() return to:status() end)
  if ok and type(status) == "number" then return { topic = to.topic, queued = status, queued_bytes = bytes } end
  return ok and type(status) == "table" and status.queued_bytes and status or nil
end

local function describe_queues(jobs)
  local list, seen = {}, {}
  for _, job in ipairs(jobs) do
    local to = job.options.to
    local status = not seen[to] and queue_of(job)
    seen[to] = true
    if status then
      list[#list + 1] = { topic = status.topic, queued_records = status.queued, queued_bytes = status.queued_bytes,
        delivered = status.delivered, failed = status.failed, dropped = status.dropped }
    end
  end
  return list
end

local function describe_part(job, part, status, now)
  local queue = queue_of(job)
  local problem = problem_of(job, part, status, now)
  local state = problem and "failing" or status.last_success and "ok" or "starting"
  return {
    collector = job.collector.name,
    part = part,
    state = state,
    problem = problem,
    started = iso(status.started),
    last_success = iso(status.last_success),
    age_seconds = age(status.last_success, now),
    error = status.error,
    error_time = iso(status.error_time),
    runs = part == "collect" and status.runs or nil,
    errors = status.errors,
    next_run = iso(status.next_run),
    every_seconds = part == "collect" and job.options.every or nil,
    queued_bytes = queue and queue.queued_bytes,
  }
end

-- The figures of a target's log: {bytes_behind =, bytes_at_risk =} by the target's name.
local function bytes_of_logs()
  local found = {}
  for _, counter in ipairs(counters.all()) do
    local collector, target, name, value = unpack(counter)
    if collector == "logs" and (name == "bytes_behind" or name == "bytes_at_risk") then
      found[target] = found[target] or { bytes_behind = 0, bytes_at_risk = 0 }
      found[target][name] = value
    end
  end
  return found
end

local function describe_targets(jobs, now, reasons)
  local list, by_name = {}, {}
  local bytes = bytes_of_logs()
  for _, job in ipairs(jobs) do
    local target = job.target
    local one = by_name[target.name]
    if not one then
      one = { target = target.name, host = target.host_name, port = target.port_number, collectors = {} }
      by_name[target.name], list[#list + 1] = one, one
    end
    for _, part in ipairs { "collect", "follow" } do
      local status = job.collector[part] and supervisor.status(job, part)
      if status and not status.over then
        local described = describe_part(job, part, status, now)
        if part == "follow" and bytes[target.name] then
          described.bytes_behind = bytes[target.name].bytes_behind
          described.bytes_at_risk = bytes[target.name].bytes_at_risk
        end
        one.collectors[#one.collectors + 1] = described
        if described.problem then
          reasons[#reasons + 1] = ("collector %s of target %s: %s%s"):format(job.collector.name, target.name,
            described.problem, described.error and (": " .. described.error) or "")
        end
      end
    end
  end
  return list
end

local function describe_kafka()
  local list = {}
  for _, producer in ipairs(output.producers()) do
    if producer.core then
      local _, down, failure = producer.core:report():state()
      list[#list + 1] = { brokers = producer.brokers, reachable = down == nil, error = down or failure,
        records_on_their_way = producer.core:pending() }
    end
  end
  return list
end

local function describe_conditions(reasons)
  local list = {}
  for _, known in ipairs(log.conditions()) do
    local fields = {}
    for name, value in pairs(known.fields or {}) do
      fields[name] = type(value) == "number" and value or tostring(value)
    end
    list[#list + 1] = { level = known.level, message = known.message, fields = fields,
      lasts_seconds = math.floor(sys.monotonic() - known.since) }
    local kafka = known.key:find "^kafka/%d+/down$" or known.key:find "^kafka/%d+/failing$"
    if kafka or known.key:find "^logs/at risk/" then
      reasons[#reasons + 1] = known.message .. (fields.error and (": " .. fields.error) or "")
    end
  end
  return list
end

--- The health of the pipeline of this process at this moment.
---@param jobs table[] its jobs, see dbobs.collect
---@return table health what http://.../ answers, ready to be encoded: status "ok" or "failing", reasons, targets,
---   kafka, queues, conditions, bytes_behind, bytes_at_risk
function M.describe(jobs)
  local now, reasons = sys.wall(), {}
  local targets = describe_targets(jobs, now, reasons)
  local conditions = describe_conditions(reasons)
  local behind, at_risk = 0, 0
  for _, bytes in pairs(bytes_of_logs()) do
    behind, at_risk = behind + bytes.bytes_behind, at_risk + bytes.bytes_at_risk
  end
  return {
    status = #reasons == 0 and "ok" or "failing",
    reasons = reasons,
    time = iso(now),
    started = iso(started or now),
    version = (sys.version()),
    targets = targets,
    kafka = describe_kafka(),
    queues = describe_queues(jobs),
    conditions = conditions,
    bytes_behind = behind,
    bytes_at_risk = at_risk,
  }
end

--- The same as JSON.
---@param described table
---@return string json on one line
function M.encode(described)
  local text = cjson.encode(described)
  -- An empty table is an object to the encoder.
  for _, name in ipairs { "reasons", "targets", "kafka", "queues", "conditions" } do
    text = text:gsub('"' .. name .. '":{}', '"' .. name .. '":[]')
  end
  return text
end

local function answer(request)
  if request.path ~= "/" then return nil end
  local health = M.describe(require("dbobs.collect").jobs())
  return {
    status = health.status == "ok" and 200 or 503,
    headers = { ["content-type"] = "application/json", ["cache-control"] = "no-store" },
    body = M.encode(health) .. "\n",
  }
end

-- Tells systemd that the loop turns, twice in the time after which it would restart us (sd_watchdog_enabled(3)).
local function feed_watchdog()
  local microseconds = tonumber(os.getenv "WATCHDOG_USEC" or "")
  if not microseconds or microseconds <= 0 then return end
  task.background(function()
    while true do
      sys.notify "WATCHDOG=1"
      task.wait(nil, microseconds / 2e6)
    end
  end)
end

--- The pipeline runs: serves what was asked for, and tells systemd.
---@return boolean|nil ok, string|nil cause
---@package
function M.start()
  started = sys.wall()
  if asked and asked.address ~= "off" then
    local server, cause = http.serve { address = asked.address, hosts = asked.hosts, handler = answer,
      background = true }
    if not server then return nil, "dbobs.health: " .. cause end
    local shown = server.host:find ":" and ("[%s]"):format(server.host) or server.host
    log.info("health is served", { address = ("http://%s:%d/"):format(shown, server.port) })
  end
  local ok, cause = sys.notify "READY=1"
  if ok == nil then log.warn("systemd cannot be told that dbobs is ready", { error = cause }) end
  feed_watchdog()
  return true
end

--- The pipeline is being stopped. One that another takes the place of says nothing: to systemd the service would end.
---@package
function M.stopping()
  local _, _, reloads = sys.order()
  if not reloads then sys.notify "STOPPING=1" end
end

return M
