local cjson = require "cjson"
local lfs = require "lfs"
local process = require "support.process"
local servers = require "support.servers"
local support = require "support.kafka"

-- The environment that points the shipped pipelines at a server.
local function environment(pg, more)
  local result = {
    PGHOST = pg.host,
    PGPORT = pg.port,
    PGDATABASE = "postgres",
    MONITOR_USER = "dbobs_monitor",
    MONITOR_PASSWORD = "monitor",
  }
  for name, value in pairs(more or {}) do result[name] = value end
  return result
end

local function json_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = cjson.decode(line) end
  return lines
end

local function by_topic(lines)
  local topics = {}
  for _, line in ipairs(lines) do topics[line.topic] = (topics[line.topic] or 0) + 1 end
  return topics
end

describe("dbobs", function()
  it("says what is wrong with a command line, and exits with 2", function()
    for words, pattern in pairs {
      ["rum"] = "unknown command 'rum'; did you mean 'run'",
      ["run"] = "which FILE",
      ["run --onec x"] = "unknown option %-%-onec; did you mean '%-%-once'",
      ["run --to kafk x"] = "option %-%-to: one of kafka, stdout expected, got 'kafk'",
      ["run --for soon x"] = "option %-%-for: a duration",
      ["run x y"] = "'y' is no option of a pipeline: write name=value",
      ["consume --count many"] = "option %-%-count: a number expected, got 'many'",
      ["help nothing"] = "no command 'nothing'",
      ["version x"] = "unexpected 'x'",
      ["test"] = "which PATH",
    } do
      local split = {}
      for word in words:gmatch "%S+" do split[#split + 1] = word end
      local code, _, stderr = process.run(split)
      assert.equal(2, code, words)
      assert.matches(pattern, stderr)
    end
  end)

  it("has help for each command", function()
    for _, command in ipairs(require "dbobs.commands") do
      local code, stdout = process.run { command, "--help" }
      assert.equal(0, code)
      assert.matches("Usage: dbobs", stdout)
    end
  end)

  it("takes the nearest name of an unknown option, and ends quietly where nobody reads, in each command", function()
    for _, command in ipairs(require "dbobs.commands") do
      if not require("dbobs.cli." .. command).passes_on then
        local code, stdout, stderr = process.run { command, "--log-levle", "x" }
        assert.equal("2 ", code .. " " .. stdout)
        assert.matches(command .. ": unknown option %-%-log%-levle; did you mean '%-%-log%-level'", stderr)
      end
      local line = ("exec 3> >(exec true); sleep 0.1; exec '%s' %s --help >&3"):format(process.dbobs, command)
      local code, _, stderr = process.run({}, nil, { command = "bash -c " .. servers.quote(line) })
      assert.equal("0 ", code .. " " .. stderr, command)
    end
  end)

  it("tells its version and what it was built of", function()
    local code, stdout = process.run { "version" }
    assert.equal(0, code)
    assert.matches("^dbobs %d+%.%d+%.%d+\ncommit %w+", stdout)
    local _, sbom = process.run { "version", "--sbom" }
    local decoded = cjson.decode(sbom)
    assert.equal("CycloneDX", decoded.bomFormat)
    local names = {}
    for _, component in ipairs(decoded.components) do
      names[component.name] = component.version
      assert.matches("^%d", component.version)
      assert.matches("^%x+$", component.hashes[1].content)
      assert.is_table(component.licenses)
    end
    for _, name in ipairs { "librdkafka", "libpq", "luajit", "openssl", "libuv" } do
      assert.is_string(names[name], name .. " in " .. sbom)
    end
  end)

  it("says file and line of a syntax error and of a run-time error", function()
    local dir = servers.directory()
    local code, _, stderr = process.run { "run", process.write(dir .. "/syntax.lua", "local x = 1\nlocal y = = 2\n") }
    assert.equal(1, code)
    assert.matches("syntax error: .*syntax.lua:2: unexpected symbol", stderr)
    code, _, stderr = process.run { "run", process.write(dir .. "/raises.lua", "local t\n\nprint(t.x)\n") }
    assert.equal(1, code)
    assert.matches("raises.lua:3: attempt to index", stderr)
    code, _, stderr = process.run { "run", dir .. "/nothing.lua" }
    assert.equal(1, code)
    assert.matches("no pipeline .*/nothing.lua", stderr)
    code, _, stderr = process.run { "run", dir }
    assert.equal(1, code)
    assert.matches("cannot read the pipeline .*directory", stderr)
  end)

  it("takes a module from beside the pipeline before the one in the binary", function()
    local dir = servers.directory()
    lfs.mkdir(dir .. "/collectors")
    process.write(dir .. "/collectors/metrics.lua", "return { mine = true }")
    process.write(dir .. "/p.lua", [[
      io.stdout:write(tostring(require("collectors.metrics").mine), " ", type(require("topics").metrics), "\n")]])
    local code, stdout, stderr = process.run { "run", dir .. "/p.lua" }
    assert.equal("true string\n", stdout, stderr)
    assert.equal(0, code)
  end)

  it("lets a file that is required wait", function()
    local dir = servers.directory()
    process.write(dir .. "/slow.lua", "require('dbobs').sleep '5ms' return 'waited'")
    process.write(dir .. "/p.lua", "print(require 'slow', require 'slow') require 'nowhere'")
    local code, stdout, stderr = process.run { "run", dir .. "/p.lua" }
    assert.equal("waited\twaited\n", stdout)
    assert.equal(1, code)
    assert.matches("p.lua:1: module 'nowhere' not found", stderr)
  end)

  it("gives name=value to the file, checked", function()
    local file = process.write(servers.directory() .. "/o.lua", [[
      local o = require("dbobs").arguments { rate = 10, name = "x", on = false }
      io.stdout:write(o.rate, o.name, tostring(o.on), "\n")]])
    local _, stdout = process.run { "run", file, "rate=2.5", "on=true" }
    assert.equal("2.5xtrue\n", stdout)
    local code, _, stderr = process.run { "run", file, "rat=2" }
    assert.equal(1, code)
    assert.matches("unknown option rat=2; did you mean 'rate'", stderr)
    code, _, stderr = process.run { "run", file, "rate=much" }
    assert.equal(1, code)
    assert.matches("option rate: a number expected, got 'much'", stderr)
  end)

  it("writes out its pipelines and leaves edited ones alone", function()
    local dir = servers.directory()
    local code, stdout = process.run({ "init" }, nil, { directory = dir })
    assert.equal(0, code)
    for _, path in ipairs { "pg.lua", "targets.lua", "topics.lua", "collectors/metrics.lua", "collectors/queries.lua",
      "collectors/logs.lua", "load/oltp.lua", "api/dbobs.lua", "api/README.md" } do
      assert.matches("written  pipelines/" .. path:gsub("%p", "%%%0"), stdout)
      assert.is_truthy(lfs.attributes(dir .. "/pipelines/" .. path))
    end
    assert.equal("LuaJIT", cjson.decode(process.read(dir .. "/.luarc.json"))["runtime.version"])
    process.write(dir .. "/pipelines/targets.lua", "-- mine")
    process.write(dir .. "/pipelines/api/dbobs.lua", "-- of an older dbobs")
    code, stdout = process.run({ "init" }, nil, { directory = dir })
    assert.equal(0, code)
    assert.matches("kept     pipelines/targets.lua", stdout)
    assert.equal("-- mine", process.read(dir .. "/pipelines/targets.lua"))
    assert.matches("^%-%-%-@meta dbobs", process.read(dir .. "/pipelines/api/dbobs.lua"))
    process.run({ "init", "--force" }, nil, { directory = dir })
    assert.not_equal("-- mine", process.read(dir .. "/pipelines/targets.lua"))
  end)
end)

describe("dbobs run --once --to stdout", function()
  local pg = servers.postgres()

  it("prints every record as a JSON object with topic, key and value, needing no broker", function()
    pg:psql "select count(*) from pg_class"
    local code, stdout, stderr = process.run({ "run", "--once", "--to", "stdout", "pipelines/pg.lua" }, environment(pg))
    assert.equal(0, code, stderr)
    local lines = json_lines(stdout)
    local topics = by_topic(lines)
    assert.is_true(topics["otel-metrics"] >= 3 and topics["raw-queries"] >= 1 and topics["raw-logs"] >= 1)
    for _, line in ipairs(lines) do
      assert.matches("^127.0.0.1:", line.key)
      if line.topic == "otel-metrics" then
        assert.is_table(line.value.resourceMetrics)
      else
        assert.equal("postgresql", line.value.source)
        assert.equal(tonumber(pg.port), line.value.port)
        assert.equal("127.0.0.1:" .. line.value.database, line.key)
      end
    end
  end)

  it("uses the copy in the binary where there is no file, and says so", function()
    local code, stdout, stderr = process.run({ "run", "--once", "--to", "stdout", "pipelines/pg.lua" },
      environment(pg), { directory = servers.directory() })
    assert.equal(0, code, stderr)
    assert.matches("no file pipelines/pg.lua: running the copy in the binary", stderr)
    assert.is_true(#stdout > 0)
  end)

  it("exits with 1 when a collector failed, without a password anywhere", function()
    local code, stdout, stderr = process.run({ "run", "--once", "--to", "stdout", "pipelines/pg.lua" },
      environment(pg, { MONITOR_PASSWORD = "wrong-secret" }))
    assert.equal(1, code)
    assert.equal("", stdout)
    assert.matches("password authentication failed", stderr)
    assert.is_nil(stderr:find("wrong-secret", 1, true))
    code, stdout, stderr = process.run({ "run", "--once", "--to", "stdout", "pipelines/pg.lua" },
      environment(pg, { PGPORT = "1" }))
    assert.equal("", stdout)
    assert.equal(1, code)
    assert.matches("target=127.0.0.1", stderr)
    assert.matches("refused", stderr)
  end)
end)

describe("dbobs run", function()
  local pg = servers.postgres()

  it("publishes to a real broker, drains on SIGTERM, exits 0; consume prints what it sent", function()
    local kafka = servers.kafka()
    pg:psql "select count(*) from pg_class"
    local one = process.start({ "run", "pipelines/pg.lua" }, environment(pg,
      { KAFKA_BOOTSTRAP_SERVERS = kafka.bootstrap, COLLECTION_INTERVAL = "1s", POSTGRES_LOG_FILE = pg.log }))
    process.until_true(function()
      local _, text = process.run { "consume", "--brokers", kafka.bootstrap, "--json", "raw-queries", "--count", "1",
        "--for", "5s" }
      return text ~= ""
    end, "the first record")
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
    assert.is_nil(one:stderr():match "ERROR", one:stderr())

    local code, stdout, stderr = process.run { "consume", "--brokers", kafka.bootstrap, "--json" }
    assert.equal(0, code, stderr)
    local lines = json_lines(stdout)
    for _, line in ipairs(lines) do
      for _, field in ipairs { "partition", "offset", "timestamp" } do assert.is_not_nil(line[field]) end
    end
    local topics = by_topic(lines)
    for _, topic in ipairs { "otel-metrics", "raw-queries", "raw-logs" } do
      assert.is_true((topics[topic] or 0) > 0, topic)
    end
    for topic, days in pairs { ["otel-metrics"] = 7, ["raw-logs"] = 30, ["raw-queries"] = 90 } do
      local text = kafka:script("tools", "org.apache.kafka.tools.TopicCommand", "--describe", "--topic", topic)
      assert.matches(("retention.ms=%d"):format(days * 24 * 60 * 60 * 1000), text)
    end
  end)

  it("loads the pipeline again on SIGHUP; one with an error leaves the old one running and says why", function()
    local file = process.write(servers.directory() .. "/p.lua", [[
      local dbobs = require "dbobs"
      local out = dbobs.kafka {}
      dbobs.collect({ name = "first", collect = function(run) return dbobs.send(run.sink, "k", "first") end },
        { host = "127.0.0.1" }, { every = "50ms", to = out:topic "t" })]])
    local one = process.start { "run", "--to", "stdout", file }
    one:says("first", "out")
    process.write(file, "local x = = 1")
    one:signal "HUP"
    one:says "syntax error"
    one:says "the reload failed; the pipeline from before goes on"
    local seen = #one:stdout()
    process.until_true(function() return #one:stdout() > seen + 100 end, "the old pipeline to go on")
    process.write(file, [[
      local dbobs = require "dbobs"
      local out = dbobs.kafka {}
      dbobs.collect({ name = "second", collect = function(run) return dbobs.send(run.sink, "k", "second") end },
        { host = "127.0.0.1" }, { every = "50ms", to = out:topic "t" })]])
    one:signal "HUP"
    one:says("second", "out")
    one:signal "INT"
    assert.equal(0, one:wait())
    -- The old one had stopped before the new one began.
    assert.is_nil(one:stdout():match "second.*first")
  end)

  it("keeps the embedded broker and its records when it loads the pipeline again", function()
    local path = servers.directory() .. "/p.lua"
    local function write(text)
      process.write(path, ([[
        local dbobs = require "dbobs"
        local kafka = dbobs.kafka { ["bootstrap.servers"] = "embedded" }
        dbobs.collect({ name = "one", collect = function(run) return dbobs.send(run.sink, "k", %q) end },
          { host = "127.0.0.1" }, { every = "50ms", to = kafka:topic "t" })]]):format(text))
    end
    write "before"
    local one = process.start { "run", path }
    local address = one:says "embedded broker is running.-address=(%S+)"
    -- The offset of the first record with the text; the topic comes with the first one of all.
    local function first(text)
      return process.until_true(function()
        local ok, messages = pcall(support.read, address, "t")
        for _, message in ipairs(ok and messages or {}) do
          if message.value == text then return message.offset end
        end
      end, text)
    end
    local before = first "before"
    for _, text in ipairs { "after", "at last" } do
      write(text)
      one:signal "HUP"
      assert.is_true(first(text) > before)
      assert.equal(before, first "before")
    end
    one:signal "TERM"
    assert.equal(0, one:wait())
    local _, started = one:stderr():gsub("embedded broker is running", "")
    assert.equal(1, started)
  end)

  it("exits at once on a second signal", function()
    local file = process.write(servers.directory() .. "/p.lua", [[
      local dbobs = require "dbobs"
      while true do pcall(dbobs.sleep, "1h") end]])
    local one = process.start { "run", file }
    process.until_true(function() return one:running() end, "it to run")
    require("dbobs.timer").sleep "300ms"
    one:signal "TERM"
    require("dbobs.timer").sleep "100ms"
    assert.is_true(one:running())
    one:signal "TERM"
    assert.equal(143, one:wait())
  end)

  it("ends a script by itself when its tasks have ended", function()
    local file = process.write(servers.directory() .. "/p.lua", [[
      local dbobs = require "dbobs"
      dbobs.spawn(function() dbobs.sleep "50ms" print "later" end)
      print "now"]])
    local code, stdout = process.run { "run", file }
    assert.equal(0, code)
    assert.equal("now\nlater\n", stdout)
  end)
end)

-- The sanitizers' binary is a dynamic one by nature.
local describe_static = process.dbobs:find "/sanitize/" and function() end or describe

describe_static("the binary", function()
  it("is static", function()
    assert.matches("statically linked", (servers.shell("file -L " .. process.dbobs)))
    assert.matches("not a dynamic executable", (servers.shell("ldd " .. process.dbobs .. " 2>&1")))
  end)

  it("runs alone in an empty root against real servers", function()
    local pg, kafka = servers.postgres(), servers.kafka()
    local root = servers.directory()
    servers.shell(("cp %s %s/dbobs"):format(process.dbobs, root))
    local chroot = ("unshare --map-root-user chroot %s /dbobs"):format(root)
    if servers.shell "id -u" == "0\n" then chroot = ("chroot %s /dbobs"):format(root) end
    local code, _, stderr = process.run({ "run", "--once", "pipelines/pg.lua" },
      environment(pg, { KAFKA_BOOTSTRAP_SERVERS = kafka.bootstrap }), { command = chroot })
    assert.equal(0, code, stderr)
    local stdout
    code, stdout = process.run({ "consume", "--brokers", kafka.bootstrap, "--json", "otel-metrics", "--count", "1" },
      nil, { command = chroot })
    assert.equal(0, code)
    assert.is_table(cjson.decode(stdout).value.resourceMetrics)
    local left = {}
    for name in lfs.dir(root) do left[#left + 1] = name end
    table.sort(left)
    assert.same({ ".", "..", "dbobs" }, left)
  end)
end)
