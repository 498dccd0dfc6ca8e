-- lua/dbobs/log_settings.lua with real servers: what the monitoring role is told, and a server whose settings change.
local collector = require "support.collector"
local log_settings = require "dbobs.log_settings"
local logs = require "collectors.logs"
local pool = require "dbobs.pool"
local servers = require "support.servers"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

-- A run of the logs collector whose position is kept in a directory of its own.
local function run_on(server, given, options)
  local run = collector.run(logs, server:target(given), options)
  local directory = servers.directory()
  function run.checkpoint() return directory .. "/logs.json" end
  function run:tell() end -- luacheck: ignore 212
  return run
end

local function is_there(path)
  return servers.shell("ls " .. path) ~= ""
end

local function until_true(what, condition)
  for _ = 1, 1200 do
    local value = condition()
    if value then return value end
    timer.sleep "50ms"
  end
  error("waited in vain for " .. what, 2)
end

describe("a server asked for its log", function()
  for _, major in ipairs { "13", "14", "15", "16", "17", "18" } do
    it("tells the monitoring role of PostgreSQL " .. major .. " all that is needed", function()
      local server = servers.postgres { major = major }
      local run = run_on(server, { log_source = "file" })
      local settings = assert(log_settings.resolve(run))
      assert.equal(tonumber(major) < 15 and "csvlog" or "jsonlog", settings.format)
      assert.equal(server.log, settings.path)
      assert.is_true(is_there(settings.path))
      for _, name in ipairs { "log_timezone", "log_line_prefix", "lc_messages", "data_directory" } do
        assert.is_string(settings.server[name], name)
      end
      assert.matches("postgresql", assert(logs.check(run)))
      pool.close(run.target)
    end)
  end
end)

describe("a server whose log settings change", function()
  it("is read on: first what is left, then where it writes now", function()
    local every = log_settings.ask_every
    log_settings.ask_every = 0.2
    finally(function() log_settings.ask_every = every end)
    local server = servers.postgres { name = "log-settings" }
    local run = run_on(server, { log_source = "file" })
    local seen = {}
    local function has(text)
      return until_true(text, function()
        for _, one in ipairs(collector.records(run.out)) do seen[#seen + 1] = one end
        local count = 0
        for _, one in ipairs(seen) do
          if one.payload.query == text then count = count + 1 end
        end
        return count > 0 and count
      end)
    end
    local following = task.spawn(logs.follow, run)
    pcall(server.psql, server, "select 1/0 as first")
    assert.equal(1, has "select 1/0 as first")
    -- An old file of the format that comes, with lines that are none of ours.
    servers.shell(("mkdir -p %s/elsewhere; echo 'old,line' > %s/elsewhere/a-9.csv; "
      .. "touch -d '2 days ago' %s/elsewhere/a-9.csv; chmod 777 %s/elsewhere"):format(server.dir, server.dir,
        server.dir, server.dir))
    server:psql(("alter system set log_directory = '%s/elsewhere'"):format(server.dir))
    server:psql "alter system set log_filename = 'a-%w.log'"
    server:psql "alter system set log_destination = 'csvlog'"
    server:psql "select pg_reload_conf()"
    until_true("the new file", function() return is_there(server.dir .. "/elsewhere/a-?.csv") end)
    for i = 1, 3 do pcall(server.psql, server, ("select 1/0 as second_%d"):format(i)) end
    for i = 1, 3 do assert.equal(1, has(("select 1/0 as second_%d"):format(i))) end
    task.cancel(following)
    task.join(following)
    for _, one in ipairs(seen) do assert.not_equal("old,line", one.payload.text) end
    assert.equal(1, has "select 1/0 as first")
    pool.close(run.target)
  end)
end)
