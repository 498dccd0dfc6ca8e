--- dbobs check: what of a pipeline works, and what is missing, by trying it once without sending anything.
local check = require "dbobs.check"
local cjson = require "cjson"
local collect = require "dbobs.collect"
local inspect = require "dbobs.inspect"
local log = require "dbobs.log"
local output = require "dbobs.output"
local pipeline = require "dbobs.pipeline"
local rights = require "dbobs.rights"
local task = require "dbobs.task"
local terminal = require "dbobs.terminal"
local tool = require "dbobs.kafka_tool"

local M = {}

M.usage = [[
Usage: dbobs check FILE [name=value...] [options]

Connects to the brokers and to every target of a pipeline, runs each collector once without sending anything, and prints
a table of targets and collectors: what works, with the number of records that one collection sends, or what is missing,
with the SQL that mends it. Exit code 1 when something does not work, or when it is stopped before its end.

  --sql        print the script for psql that creates the monitoring role of the targets with the least rights; nothing
               is connected to, and no password is in it
  --target T   only this target
  --timeout T  how long connecting, and then each collector, may take (default: 30s)
  --json       one JSON object a line, for each broker list, list of targets, and collector on a target
]]

M.options = { ["--sql"] = "boolean", ["--json"] = "boolean", ["--target"] = "string", ["--timeout"] = "duration" }

local TIMEOUT = 30
-- So many names are written out where several targets have the same problem.
local MOST_NAMES = 8
local BROKER_SECONDS = 10

local function style_of(cell)
  local text = tostring(cell or "")
  return text:find "^ok" and "green" or text:find "^FAILED" and "red" or text:find "^stopped" and "yellow" or nil
end

local function on_one_line(text)
  return (inspect.hide(tostring(text)):gsub("%s*\n%s*", " "))
end

---@class view what the command prints, as it comes to be known
local view = {}
view.__index = view

local function new_view(given)
  return setmetatable({ out = terminal.output(), json = given.json, well = true, rows = {}, details = {} }, view)
end

-- Something that is no target: brokers, lists of targets.
function view:add(kind, name, ok, text)
  self.well = self.well and ok
  text = on_one_line(text)
  if self.json then
    self.out:write(cjson.encode { kind = kind, name = name, ok = ok, text = text } .. "\n")
  else
    self.rows[#self.rows + 1] = { kind, name, ok and "ok" or "FAILED", text }
  end
end

function view:flush_rows()
  for _, row in ipairs(self.rows) do
    local kind, name, state, text = unpack(row)
    local first = ("%s %s"):format(kind, name)
    self.out:write(("%s  %s\n"):format(self.out:paint("bold", first), self.out:paint(style_of(state), state))
      .. terminal.wrap(text, self.out.columns, "  "))
  end
  if #self.rows > 0 and not self.json then self.out:write "\n" end
  self.rows = {}
end

-- Asks the brokers, while the targets are tried. Returns what waits for their answers, and shows them.
local function check_brokers(show)
  local tasks = {}
  for i, producer in ipairs(output.producers()) do
    tasks[i] = task.spawn(function() return producer:topics(BROKER_SECONDS) end)
  end
  return function()
    for i, producer in ipairs(output.producers()) do
      local _, topics, cause = task.join(tasks[i])
      show:add("brokers", producer.brokers or "", topics ~= nil, topics and ("%d topics"):format(#topics) or cause)
    end
  end
end

-- The lists of targets that are read again.
local function check_lists(show)
  for _, look in ipairs(collect.look()) do
    local count = 0
    for _ in pairs(look.roster.members) do count = count + 1 end
    for _, problem in ipairs(look.problems) do
      local about = problem.fields
      local cause = about.error or ("%s (%s)"):format(problem.message, about.first)
      show:add("targets", about.name or "", false, ("%s: %s"):format(about.source, cause))
    end
    show:add("targets", look.roster.source.title, #look.problems == 0, ("%d targets"):format(count))
  end
end

local function collectors_of(list)
  local names, known = {}, {}
  for _, one in ipairs(list) do
    for _, result in ipairs(one.results) do
      local name = result.job.collector.name
      if not known[name] then names[#names + 1] = name end
      known[name] = true
    end
  end
  return names
end

local function cell_of(result)
  if result.ok == nil then return "stopped" end
  return result.ok and ("ok (%d)"):format(result.records) or "FAILED"
end

local function print_table(show, list)
  if #list == 0 then return end
  local names = collectors_of(list)
  local columns, rows = { { title = "target", least = 12 } }, {}
  for i, name in ipairs(names) do columns[i + 1] = { title = name, style = style_of } end
  for i, one in ipairs(list) do
    local cells = {}
    for _, result in ipairs(one.results) do
      local name, cell = result.job.collector.name, cell_of(result)
      -- A collector may be asked for twice, with other options.
      cells[name] = cells[name] and cells[name] .. ", " .. cell or cell
    end
    rows[i] = { one.target.name }
    for j, name in ipairs(names) do rows[i][j + 1] = cells[name] or "-" end
  end
  show.out:table(columns, rows)
end

-- What there is to say of a target, and the same for all targets of which that is to be said.
local function lines_of(one)
  local texts, order = {}, {}
  for _, result in ipairs(one.results) do
    for _, list in ipairs { result.problems, result.says } do
      for _, text in ipairs(list) do
        text = on_one_line(text)
        if not texts[text] then order[#order + 1] = text end
        texts[text] = texts[text] and texts[text] .. ", " .. result.job.collector.name or result.job.collector.name
      end
    end
  end
  for i, text in ipairs(order) do order[i] = ("%s: %s"):format(texts[text], text) end
  return order
end

local function group(list)
  local groups, known = {}, {}
  for _, one in ipairs(list) do
    local lines = lines_of(one)
    local database = #one.sql > 0 and one.target.database or ""
    local key = table.concat(lines, "\n") .. "\0" .. database .. "\0" .. table.concat(one.sql, "\n")
    if #lines > 0 and not known[key] then
      known[key] = { names = {}, lines = lines, sql = one.sql, database = one.target.database }
      groups[#groups + 1] = known[key]
    end
    if #lines > 0 then table.insert(known[key].names, one.target.name) end
  end
  return groups
end

local function print_details(show, list)
  local out = show.out
  for _, one in ipairs(group(list)) do
    local shown = { unpack(one.names, 1, MOST_NAMES) }
    local others = #one.names - #shown
    local title = table.concat(shown, ", ") .. (others > 0 and (" and %d others"):format(others) or "")
    local text = { "\n", out:paint("bold", (terminal.wrap(title, out.columns):gsub("\n$", ""))), "\n" }
    for _, line in ipairs(one.lines) do text[#text + 1] = terminal.wrap(line, out.columns, "    ", "  - ") end
    if #one.sql > 0 then
      local where = one.database and ("in database %s"):format(one.database) or "in its database"
      text[#text + 1] = terminal.wrap(("This mends it; as superuser, %s:"):format(where), out.columns, "  ")
      -- Not wrapped: it is to be copied.
      for _, line in ipairs(one.sql) do text[#text + 1] = "    " .. out:paint("cyan", line) .. "\n" end
    end
    if not out:write(table.concat(text)) then return end
  end
end

-- nil for none: an empty table would be an object in JSON.
local function texts(list)
  if #list == 0 then return nil end
  local shown = {}
  for i, text in ipairs(list) do shown[i] = inspect.hide(text) end
  return shown
end

local function print_json(show, list)
  for _, one in ipairs(list) do
    for _, result in ipairs(one.results) do
      show.out:write(cjson.encode {
        kind = "collector", target = one.target.name, collector = result.job.collector.name, ok = result.ok == true,
        stopped = result.ok == nil or nil, records = result.records,
        problems = texts(result.problems), says = texts(result.says),
        sql = #one.sql > 0 and table.concat(one.sql, "\n") or nil,
      } .. "\n")
    end
  end
end

local function progress(list)
  local waiting = {}
  for _, one in ipairs(list) do
    if not one.done then waiting[#waiting + 1] = one.target.name end
  end
  if #waiting == 0 then return log.status(nil) end
  log.status(("checked %d of %d targets; waiting for %s"):format(#list - #waiting, #list,
    table.concat(waiting, ", ", 1, math.min(#waiting, 3))))
end

local function count_well(list)
  local count = 0
  for _, one in ipairs(list) do
    local well = true
    for _, result in ipairs(one.results) do well = well and result.ok == true end
    if well then count = count + 1 end
  end
  return count
end

local function print_targets(show, list)
  log.status(nil)
  show:flush_rows()
  local well = count_well(list)
  show.well = show.well and well == #list
  if show.json then return print_json(show, list) end
  print_table(show, list)
  print_details(show, list)
  if well < #list then
    show.out:write(terminal.wrap(("\n%d of %d targets work. 'dbobs check --sql FILE' prints the script that creates "
      .. "the role with all that it needs."):format(well, #list), show.out.columns, "", "\n"))
  end
end

-- The targets of jobs, or the one that was chosen. nil and a cause when there is none.
local function choose(given)
  local list = check.targets(collect.jobs())
  if not given.target then return list end
  local names = {}
  for i, one in ipairs(list) do
    if one.target.name == given.target then return { one } end
    names[i] = one.target.name
  end
  return nil, ("no target '%s'%s"):format(given.target, require("dbobs.options").hint(given.target, names))
end

local function check_all(show, given)
  local brokers = check_brokers(show)
  check_lists(show)
  local list, problem = choose(given)
  if not list then return nil, problem end
  if show.json then show.rows = {} end
  show.list = list
  check.run(list, given.timeout or TIMEOUT, function() progress(list) end)
  brokers()
  print_targets(show, list)
  return true
end

-- Targets that need the same have one section.
local function print_sql(out, path, given)
  collect.look()
  local list, problem = choose(given)
  if not list then return nil, problem end
  local sections, known = {}, {}
  for _, one in ipairs(list) do
    local collectors = {}
    for i, result in ipairs(one.results) do collectors[i] = result.job.collector end
    local sql = rights.script(one.target, collectors)
    if not known[sql] then
      known[sql] = { sql = sql, names = {} }
      sections[#sections + 1] = known[sql]
    end
    table.insert(known[sql].names, one.target.name)
  end
  out:write(("-- The monitoring role of %s, with the least rights. Run it with psql as superuser:\n"
    .. "--   dbobs check --sql %s > role.sql && psql -h HOST -f role.sql\n"):format(path, path))
  for _, section in ipairs(sections) do
    out:write(("\n-- On %s\n%s"):format(table.concat(section.names, "\n-- and "), section.sql))
  end
  return true
end

-- Runs the pipeline, which asks for collectors. Returns whether it could be read.
local function load(path)
  local source, problem = pipeline.load(path)
  if not source then return nil, problem end
  local loaded, cause = pcall(source.chunk)
  if not loaded then return nil, "the pipeline raised an error: " .. tostring(cause) end
  problem = pipeline.unused_arguments()
  if problem then return nil, problem end
  if #collect.jobs() == 0 and #collect.rosters() == 0 then
    return nil, "the file asks for no collector: there is nothing to check"
  end
  return true
end

local function work(path, show, given)
  local loaded, problem = load(path)
  if not loaded then return nil, problem end
  if given.sql then return print_sql(show.out, path, given) end
  return check_all(show, given)
end

function M.run(arguments, given)
  local path = table.remove(arguments, 1)
  if not path then return nil, "which FILE? For example: dbobs check pipelines/pg.lua" end
  local ok, problem = pipeline.set_arguments(arguments)
  if not ok then return nil, problem end
  -- The script needs no broker either.
  output.select(given.sql and "stdout" or "check")
  local show = new_view(given)
  local done, cause = tool.interruptible(work, nil, path, show, given)
  if not done and cause == tool.STOPPED then
    if show.list then print_targets(show, show.list) end
    log.error "stopped before everything was tried"
    return 1
  end
  if not done then
    show:flush_rows()
    log.error(cause)
    return 1
  end
  output.close(0)
  return show.well and 0 or 1
end

return M
