--- dbobs check: what of a pipeline works, and what is missing, by trying it once without sending anything.
local collect = require "dbobs.collect"
local log = require "dbobs.log"
local output = require "dbobs.output"
local pipeline = require "dbobs.pipeline"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

local M = {}

M.usage = [[
Usage: dbobs check FILE [name=value...]

Connects to the brokers and to every target of a pipeline, runs each collector once without sending anything, and tells
for each what works, or exactly what is missing. Exit code 1 when something does not work.
]]

M.options = {}

local function line(...)
  sys.write(("%-8s %-24s %-10s %s\n"):format(...))
end

-- One collector on one target. Returns whether it works and what there is to say.
local function try(job)
  local batch = sink.batch()
  local problems = {}
  local current = run.new(job, sink.discard(), batch)
  local seen = {}
  function current:partial(what, why) -- luacheck: ignore 212
    local problem = why and ("%s: %s"):format(what, why) or what
    -- A collector may both count a part as failed and tell it as a condition.
    if not seen[problem] then problems[#problems + 1] = problem end
    seen[problem] = true
  end
  function current:tell(what, active, why)
    if active then self:partial(what, why) end
  end
  local says = {}
  for _, name in ipairs { "collect", "check" } do
    if job.collector[name] then
      local ok, result, cause = pcall(job.collector[name], current)
      if not ok then problems[#problems + 1] = tostring(result)
      elseif result == nil and cause then problems[#problems + 1] = cause
      elseif type(result) == "string" then says[#says + 1] = result end
    end
  end
  if #problems == 0 then table.insert(says, 1, ("%d records"):format((sink.status(batch)))) end
  for i, problem in ipairs(problems) do table.insert(says, i, problem) end
  return #problems == 0, table.concat(says, "; ")
end

local function check_brokers()
  local well = true
  for _, producer in ipairs(output.producers()) do
    local topics, cause = producer:topics(10)
    well = well and topics ~= nil
    line(topics and "ok" or "FAILED", "kafka", "", topics and ("%d topics"):format(#topics) or cause)
  end
  return well
end

-- The lists of targets that are read again.
local function check_lists()
  local well = true
  for _, look in ipairs(collect.look()) do
    local count = 0
    for _ in pairs(look.roster.members) do count = count + 1 end
    for _, problem in ipairs(look.problems) do
      local about = problem.fields
      local cause = about.error or ("%s (%s)"):format(problem.message, about.first)
      well = false
      line("FAILED", about.name or "targets", "", ("%s: %s"):format(about.source, cause))
    end
    local all = #look.problems == 0
    line(all and "ok" or "FAILED", "targets", "", ("%s: %d targets"):format(look.roster.source.title, count))
  end
  return well
end

local function check_jobs()
  local well, tasks, jobs = true, {}, collect.jobs()
  for i, job in ipairs(jobs) do
    tasks[i] = task.spawn(function()
      local ok, text = task.deadline(30, try, job)
      return ok == true, ok == nil and "no answer within 30 s" or text
    end)
  end
  for i, job in ipairs(jobs) do
    local ended, ok, text = task.join(tasks[i])
    ok = ended and ok
    well = well and ok
    line(ok and "ok" or "FAILED", job.target.name, job.collector.name, (tostring(text):gsub("%s*\n%s*", " ")))
  end
  return well
end

function M.run(arguments)
  local path = table.remove(arguments, 1)
  if not path then return nil, "which FILE? For example: dbobs check pipelines/pg.lua" end
  local ok, problem = pipeline.set_arguments(arguments)
  if not ok then return nil, problem end
  output.select "check"
  local source
  source, problem = pipeline.load(path)
  local loaded, cause = nil, problem
  if source then
    loaded, cause = pcall(source.chunk)
    cause = not loaded and "the pipeline raised an error: " .. tostring(cause)
  end
  if not loaded then
    log.error(cause)
    return 1
  end
  problem = pipeline.unused_arguments()
  if problem then
    log.error(problem)
    return 1
  end
  if #collect.jobs() == 0 and #collect.rosters() == 0 then
    log.error "the file asks for no collector: there is nothing to check"
    return 1
  end
  local brokers = check_brokers()
  local lists = check_lists()
  local jobs = check_jobs()
  output.close(0)
  return brokers and lists and jobs and 0 or 1
end

return M
