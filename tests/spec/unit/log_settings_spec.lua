-- lua/dbobs/log_settings.lua: what is followed, by what the target and the server say.
local log_settings = require "dbobs.log_settings"
local logs = require "collectors.logs"
local servers = require "support.servers"
local target = require "dbobs.target"

local SERVER = {
  log_destination = "stderr,csvlog", logging_collector = "on", log_directory = "log", data_directory = "/data/18",
  log_filename = "postgresql-%Y-%m-%d_%H%M%S.log", log_timezone = "Europe/Berlin", log_line_prefix = "%m [%p] ",
}

-- A run on a target whose server says this; nil: it does not answer.
local function run_on(given, server, checkpoint)
  given.host = given.host or "db1"
  local run = { target = assert(target.new(given)), state = {}, options = {}, server = server }
  function run:snapshot(_, statements)
    if not self.server then return nil, "no answer" end
    local rows = {}
    for name, value in pairs(self.server) do rows[#rows + 1] = { name = name, setting = value } end
    statements[1].each { rows = function() return rows end }
    return {}
  end
  function run.checkpoint() return checkpoint or "/nowhere/db1.logs.json" end
  function run.tell(_, what, active, why) if active then run.told = ("%s: %s"):format(what, why) end end
  return run
end

local function with(changes)
  local server = {}
  for name, value in pairs(SERVER) do server[name] = value end
  for name, value in pairs(changes) do server[name] = value ~= "" and value or nil end
  return server
end

describe("the names of a server's log files", function()
  it("are those of its pattern and format", function()
    local names = {
      { "postgresql-%Y-%m-%d_%H%M%S.log", "stderr", "postgresql-????-??-??_??????.log" },
      { "postgresql-%Y-%m-%d_%H%M%S.log", "jsonlog", "postgresql-????-??-??_??????.json" },
      { "postgresql-%a.log", "csvlog", "postgresql-???.csv" },
      { "postgresql-%a", "csvlog", "postgresql-???.csv" },
      { "pg.log.%Od", "jsonlog", "pg.log.??.json" },
      { ".log", "jsonlog", ".log.json" },
      { "100%%-[a]*?.log", "stderr", "100%-[[]a][*][?].log" },
      { "pg-%B-%s%", "stderr", "pg-*-**" },
      { "postgresql.log", "jsonlog", "postgresql.json" },
    }
    for _, one in ipairs(names) do assert.equal(one[3], log_settings.pattern(one[1], one[2])) end
  end)
end)

describe("the settings of a server's log", function()
  it("are not asked for a target without a log", function()
    assert.is_false(log_settings.resolve(run_on({}, SERVER)))
    assert.matches("not read", logs.check(run_on({}, SERVER)))
  end)

  it("are the server's: directory, name, format, prefix and time zone", function()
    local settings = assert(log_settings.resolve(run_on({ log_source = "file" }, SERVER)))
    assert.same({ "/data/18/log/postgresql-????-??-??_??????.csv", "csvlog", "Europe/Berlin", "/data/18/log" },
      { settings.path, settings.format, settings.log_timezone, settings.directory })
    settings = assert(log_settings.resolve(run_on({ log_source = "file" },
      with { log_destination = "syslog, stderr", log_directory = "/var/log/pg[1]" })))
    assert.same({ "/var/log/pg[[]1]/postgresql-????-??-??_??????.log", "stderr", "%m [%p] " },
      { settings.path, settings.format, settings.log_line_prefix })
    settings = assert(log_settings.resolve(run_on({ log_source = "file" },
      with { log_destination = "csvlog,jsonlog,stderr" })))
    assert.equal("jsonlog", settings.format)
  end)

  it("are the target's where it says so", function()
    local settings = assert(log_settings.resolve(run_on({ log_source = "file", log_directory = "/mnt/pglog",
      log_format = "stderr", log_line_prefix = "%t ", log_timezone = "UTC" }, SERVER)))
    assert.same({ "/mnt/pglog/postgresql-????-??-??_??????.log", "%t ", "UTC" },
      { settings.path, settings.log_line_prefix, settings.log_timezone })
    settings = assert(log_settings.resolve(run_on({ log_file = "/x/a.json" }, SERVER)))
    assert.same({ "/x/a.json", "jsonlog", "Europe/Berlin" }, { settings.path, settings.format, settings.log_timezone })
    -- Nothing is left to ask.
    settings = assert(log_settings.resolve(run_on({ log_file = "/x/a.csv", log_timezone = "UTC" })))
    assert.same({ "/x/a.csv", "csvlog" }, { settings.path, settings.format })
  end)

  it("say what to do where there is nothing to follow", function()
    local function problem(changes)
      local settings, cause = log_settings.resolve(run_on({ log_source = "file", user = "watcher" }, with(changes)))
      assert.is_nil(settings)
      return cause
    end
    assert.matches("^logging_collector is off, .* set logging_collector = on .* log_file", problem {
      logging_collector = "off" })
    assert.matches("^log_destination is 'syslog', which makes no file: set log_destination = 'jsonlog'", problem {
      log_destination = "syslog" })
    assert.matches("GRANT pg_monitor TO watcher", problem { log_directory = "", log_filename = "" })
    local settings, cause = log_settings.resolve(run_on { log_source = "file" })
    assert.is_nil(settings)
    assert.matches("log_directory and log_filename .*: no answer", cause)
  end)

  it("are kept for a start at which the server is down", function()
    local checkpoint = servers.directory() .. "/state/db1.logs.json"
    local run = run_on({ log_source = "file" }, SERVER, checkpoint)
    log_settings.watch(run, assert(log_settings.resolve(run))):stop()
    local settings = assert(log_settings.resolve(run_on({ log_source = "file" }, nil, checkpoint)))
    assert.same({ "/data/18/log/postgresql-????-??-??_??????.csv", SERVER }, { settings.path, settings.server })
    for _, damaged in ipairs { "", "{", "[1]", '{"log_directory":1}' } do
      local file = assert(io.open(checkpoint:gsub("%.json$", ".settings.json"), "wb"))
      file:write(damaged)
      file:close()
      assert.is_nil(log_settings.resolve(run_on({ log_source = "file" }, nil, checkpoint)))
    end
  end)
end)

describe("settings that are watched", function()
  local every

  before_each(function() every, log_settings.ask_every = log_settings.ask_every, 0.01 end)

  after_each(function() log_settings.ask_every = every end)

  local function watched(given, server)
    local run = run_on(given, server, servers.directory() .. "/a.json")
    local watch = log_settings.watch(run, assert(log_settings.resolve(run)))
    return run, watch
  end

  local function until_true(condition)
    local timer = require "dbobs.timer"
    local _, late = require("dbobs.task").deadline("60s", function()
      while not condition() do timer.sleep "10ms" end
      return true
    end)
    assert.is_nil(late)
  end

  it("tell of another directory, format, time zone or prefix", function()
    local run, watch = watched({ log_source = "file" }, SERVER)
    run.server = with { log_destination = "jsonlog" }
    until_true(function() return watch.changed end)
    assert.same({ "/data/18/log/postgresql-????-??-??_??????.json", "jsonlog", "number" },
      { watch.changed.path, watch.changed.format, type(watch.changed.since) })
    run, watch = watched({ log_source = "file" }, SERVER)
    run.server = with { log_timezone = "UTC" }
    until_true(function() return watch.changed end)
    assert.same({ "UTC", nil }, { watch.changed.log_timezone, watch.changed.since })
  end)

  it("are not others when only the prefix of plain lines changed, or the server is away", function()
    local run, watch = watched({ log_source = "file" }, SERVER)
    run.server = with { log_line_prefix = "%t " }
    run.server = nil
    local seen = watch.seen
    run.server = with { log_line_prefix = "%t " }
    until_true(function() return watch.seen > seen end)
    assert.is_nil(watch.changed)
    watch:stop()
  end)

  it("tell when the server writes no file any more", function()
    local run, watch = watched({ log_source = "file" }, SERVER)
    run.server = with { log_destination = "syslog" }
    until_true(function() return run.told end)
    assert.matches("not written where it is read any more: log_destination is 'syslog'", run.told)
    assert.is_nil(watch.changed)
    watch:stop()
  end)
end)

describe("what `dbobs check` recommends", function()
  it("is lc_messages C, where the server speaks another language", function()
    for value, wanted in pairs { C = false, POSIX = false, [""] = false, ["en_US.UTF-8"] = false, ["C.UTF-8"] = false,
      ["de_DE.UTF-8"] = true, ["ru_RU"] = true, ["C3"] = true } do
      local advice = log_settings.advice({}, { server = { lc_messages = value } })
      assert.equal(wanted, advice ~= nil and advice:find("lc_messages = 'C'", 1, true) ~= nil, value)
    end
    assert.is_nil(log_settings.advice(run_on {}, { server = {} }))
    assert.matches("de_DE", log_settings.advice(run_on({}, with { lc_messages = "de_DE.UTF-8" }), { server = {} }))
  end)
end)
