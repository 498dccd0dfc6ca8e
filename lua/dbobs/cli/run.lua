--- dbobs run: a pipeline, a load test or any script.
local health = require "dbobs.health"
local log = require "dbobs.log"
local output = require "dbobs.output"
local pipeline = require "dbobs.pipeline"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"
local trace = require "dbobs.trace"
local workload = require "dbobs.load.workload"

local M = {}

M.usage = [[
Usage: dbobs run FILE [name=value...] [options]

Runs a pipeline until SIGTERM or SIGINT, which drain and end with exit code 0; a second one ends at once. SIGHUP reads
the file again, once it has been read to its end; one with an error leaves the old one running. A FILE that is not there
is taken from the binary.

A FILE that is a load test also takes a first word: prepare, run or cleanup; `dbobs run FILE --help` lists its options.

  --compare A B    what changed between two load tests, by the files that json= wrote
  --once           run each collector once, then end; exit code 1 when one failed
  --to kafka|stdout  where records go; stdout prints them, decoded, and needs no broker
  --format FORM    how: json (one object a line), text (one line a record) or details (all points of a metrics record,
                   too); by default details on a terminal, else json
  --trace NAME     print each statement of this collector (or of all) with its time and rows, on standard error
  --for DURATION   end after this time
]]

M.options = {
  ["--compare"] = "string", ["--once"] = "boolean", ["--to"] = { one = { "kafka", "stdout" } }, ["--for"] = "duration",
  ["--format"] = { one = { "json", "text", "details" } }, ["--trace"] = "string",
}

-- How long the tasks may take to end, and what they sent to be delivered, when dbobs is told to stop.
local STOP_SECONDS, FLUSH_SECONDS = 10, 20

-- Also the end of a reload: then the pipeline from before, which waits for this one, goes on.
local function fail(message, more)
  log.error(message, more)
  if not sys.order() then log.error "the reload failed; the pipeline from before goes on" end
  return 1
end

local function with_traceback(cause)
  if cause == task.CANCELLED then return cause end
  return { cause = tostring(cause), traceback = debug.traceback("", 2) }
end

-- Runs the file as a task of its own, so that a stop signal can end it. Its outcome is left in the table.
local function start_script(chunk)
  local outcome = {}
  outcome.task = task.spawn(function()
    local ok, value = xpcall(chunk, with_traceback)
    outcome.failure = not ok and value ~= task.CANCELLED and value or nil
    outcome.value = ok and value or nil
  end)
  return outcome
end

-- Waits until `done()` or an order to stop. Returns false when it was the order.
local function wait_for(done, timeout)
  local orders = sys.orders()
  local until_time = timeout and sys.monotonic() + timeout
  while not done() do
    local _, must_stop = sys.order()
    if must_stop then return false end
    local left = until_time and until_time - sys.monotonic()
    if left and left <= 0 then return false end
    task.wait(orders, left)
  end
  return true
end

-- Ends the tasks, waits for them, then for what is on its way to Kafka.
local function stop(tasks)
  for _, one in ipairs(tasks) do task.cancel(one) end
  task.deadline(STOP_SECONDS, function()
    for _, one in ipairs(tasks) do task.join(one) end
    return true
  end)
  return output.close(FLUSH_SECONDS)
end

local function summary()
  local parts = {}
  for _, counter in ipairs(require("dbobs.counters").all()) do
    local collector, target, name, value = unpack(counter)
    local key = collector .. "/" .. target
    if parts[#parts] == nil or parts[#parts].key ~= key then
      parts[#parts + 1] = { key = key, collector = collector, target = target, fields = {} }
    end
    parts[#parts].fields[name] = value
  end
  for _, part in ipairs(parts) do
    part.fields.collector, part.fields.target = part.collector, part.target
    log.info("summary", part.fields)
  end
end

-- Reads the lists of targets that are read again, for the first time. Returns whether all of it could be taken.
local function take_up(collect)
  local well = true
  for _, look in ipairs(collect.look()) do
    for _, problem in ipairs(look.problems) do
      log.error(problem.message, problem.fields)
      well = false
    end
  end
  return well
end

local function run_once(collect)
  local well
  local all = task.spawn(function()
    well = take_up(collect)
    if #collect.jobs() == 0 then
      log.error "there is no target, so there is nothing to run once"
      well = false
    end
    well = collect.run_once() and well
  end)
  local ended = wait_for(function() return task.status(all) ~= "running" end)
  local closed = stop { all }
  return (well or not ended) and closed and 0 or 1
end

local function run_collectors(collect, given, reloads)
  if given.once then return run_once(collect) end
  local well, cause = health.start()
  if not well and not reloads then return fail(cause) end
  if not well then log.error(cause) end
  log.info("running", { collectors = collect.start() })
  wait_for(function() return false end, given["for"])
  health.stopping()
  log.info("stopping: draining what was collected")
  collect.stop(STOP_SECONDS)
  local drained = stop {}
  collect.settle()
  summary()
  return drained and 0 or 1
end

-- After the script has ended: what it left running, or the collectors it asked for.
local function continue(given)
  -- A script that asks for no collector has not loaded them.
  local collect = package.loaded["dbobs.collect"]
  local collects = collect and (#collect.jobs() > 0 or #collect.rosters() > 0)
  local reloads = not sys.order()
  -- A first start goes on with what there is; a reload must not lose what the pipeline from before has.
  if reloads and collects and not take_up(collect) then return fail "not every target could be taken" end
  sys.loaded()
  local problem = pipeline.unused_arguments()
  if problem then return fail(problem) end
  wait_for(function() return (sys.order()) end)
  problem = collects and given.trace and trace.problem(collect.jobs(), #collect.rosters() > 0)
  if problem then return fail(problem) end
  if collects then return run_collectors(collect, given, reloads) end
  if given.once then return fail "the file asks for no collector: there is nothing to run once" end
  -- The main task itself is one of those counted.
  wait_for(function() return task.count() <= 1 end, given["for"])
  return output.close(FLUSH_SECONDS) and 0 or 1
end

function M.run(arguments, given)
  if given.compare then
    local second = table.remove(arguments)
    if not second then return nil, "--compare takes two files: --compare A.json B.json" end
    local ok, problem = require("dbobs.load.compare").run(given.compare, second)
    return ok and 0 or fail(problem)
  end
  local path = table.remove(arguments, 1)
  if not path then return nil, "which FILE? For example: dbobs run pipelines/pg.lua" end
  local ok, problem = pipeline.set_arguments(arguments)
  if not ok then return nil, problem end
  if given.format and given.to ~= "stdout" then return nil, "option --format: it goes with --to stdout" end
  output.select(given.to or "kafka", given.format or (sys.is_terminal(1) and "details") or "json")
  if given.trace then trace.start(given.trace) end

  local source
  source, problem = pipeline.load(path)
  if not source then return fail(problem) end
  if source.embedded then
    log.info(("there is no file %s: running the copy in the binary ('dbobs init' writes it out)"):format(path))
  end
  local outcome = start_script(source.chunk)
  local ended = wait_for(function() return task.status(outcome.task) ~= "running" end, given["for"])
  if not ended then return stop { outcome.task } and 0 or 1 end
  if outcome.failure then
    stop {}
    return fail("the pipeline raised an error: " .. outcome.failure.cause, { traceback = outcome.failure.traceback })
  end
  if workload.is(outcome.value) then
    local texts = pipeline.given()
    texts.duration = texts.duration or (given["for"] and tostring(given["for"]))
    return require("dbobs.load.control").main(outcome.value, path, pipeline.command or "run", texts)
  end
  return continue(given)
end

--- The options of a load test, for --help behind its file. Returns whether the file is one.
---@param arguments string[]
function M.help(arguments)
  local source = arguments[1] and pipeline.load(arguments[1])
  if not source then return false end
  pipeline.set_arguments {}
  local ok, value = pcall(source.chunk)
  if not ok or not workload.is(value) then return false end
  sys.write(require("dbobs.load.options").help(value, arguments[1]))
  return true
end

return M
