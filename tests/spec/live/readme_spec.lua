-- The README's shell commands, run as they stand, and what it and the other documents say of commands and files.
local process = require "support.process"
local servers = require "support.servers"
local timer = require "dbobs.timer"

local function documents()
  local list = {}
  for path in servers.shell("git ls-files '*.md'"):gmatch "[^\n]+" do list[#list + 1] = path end
  return list
end

-- The fenced blocks of a document: {language line, text, line number}; what stands outside of them is `prose`.
local function blocks_of(path)
  local blocks, prose, current, number = {}, {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    local fence = line:match "^```(.*)$"
    if fence and not current then current = { kind = fence, line = number, lines = {} }
    elseif fence then
      blocks[#blocks + 1], current = current, nil
    elseif current then table.insert(current.lines, line)
    else prose[#prose + 1] = line end
  end
  assert.is_nil(current, path .. ": a block that is not closed")
  return blocks, prose
end

-- These take longer than other processes: many commands, and servers of their own.
local function wait_long(one)
  local until_time = timer.monotonic() + 300
  while one:running() and timer.monotonic() < until_time do timer.sleep "100ms" end
  assert.is_false(one:running(), "it goes on and on: " .. one:stdout() .. one:stderr())
  assert.equal(0, one:wait(), one:stdout() .. one:stderr())
end

describe("the README", function()
  it("has shell commands that work, in a new directory with a PostgreSQL and a Kafka", function()
    local pg, kafka = servers.postgres { name = "readme" }, servers.kafka()
    local dir = servers.directory()
    servers.shell(("mkdir %s/bin && ln -s %s %s/bin/dbobs"):format(dir, servers.quote(servers.shell(
      "readlink -f " .. servers.quote(process.dbobs)):match "%S+"), dir))
    local port = servers.shell("bash -c '. tests/servers/lib.sh; free_port'"):match "%d+"
    local one = process.start({}, {
      HEALTH_ADDRESS = "127.0.0.1:" .. port, PATH = dir .. "/bin:" .. os.getenv "PATH", HOME = dir,
      PGPORT = pg.port, PGUSER = pg.user, PGPASSWORD = pg.password,
      README_BROKERS = kafka.bootstrap, README_UI = "127.0.0.1:0", README_DURATION = "2s", README_LIMIT = "60s",
    }, { directory = dir, command = servers.quote(servers.shell("pwd"):match "%S+" .. "/tests/readme.sh") })
    wait_long(one)
    assert.matches('{"topic":"raw%-queries"', process.read(dir .. "/records.json"))

    -- What it shows as output is what came.
    local function plain(line)
      return (line:gsub(kafka.bootstrap, "localhost:9092"):gsub("localhost:" .. pg.port, "localhost")
        :gsub("localhost:app", "localhost:postgres"):gsub("%d[%d.]*", "0"):gsub("%s+", " "))
    end
    local came = {}
    for line in (one:stdout() .. one:stderr()):gmatch "[^\n]+" do came[#came + 1] = plain(line) end
    local shown = 0
    for _, block in ipairs(blocks_of "README.md") do
      for _, line in ipairs(block.kind == "text" and block.lines or {}) do
        local wanted, found = plain(line):gsub("%s?%.%.%.$", ""), line:match "^%s*$" ~= nil
        for _, other in ipairs(came) do found = found or other:sub(1, #wanted) == wanted end
        assert.is_true(found, ("README.md:%d: nothing printed: %s"):format(block.line, line))
        shown = shown + 1
      end
    end
    assert.is_true(shown >= 10)
    servers.drop(pg)
  end)

  it("shows with the demo what comes out of the three topics", function()
    local one = process.start({}, { DEMO_SECONDS = "10" }, { command = "tests/demo.sh" })
    wait_long(one)
    for _, topic in ipairs { "otel%-metrics", "raw%-logs", "raw%-queries" } do
      assert.matches("Z " .. topic .. " ", one:stdout())
    end
  end)

  it("fences every shell command, as one that is run", function()
    local known = { ["sh"] = true, ["sh background"] = true, ["sh up"] = true, ["sh ci"] = true, lua = true,
      text = true, ["text up"] = true }
    local blocks, prose = blocks_of "README.md"
    local commands = 0
    for _, block in ipairs(blocks) do
      assert.is_true(known[block.kind] == true, ("README.md:%d: ```%s"):format(block.line, block.kind))
      if block.kind:find "^sh" then commands = commands + #block.lines end
    end
    assert.is_true(commands >= 10)
    for _, line in ipairs(prose) do assert.not_matches("^    ", line) end
  end)

  it("lists every command, as the help does", function()
    local readme, help = process.read "README.md", require("dbobs.cli.help").usage
    for _, command in ipairs(require "dbobs.commands") do
      assert.is_truthy(readme:find(("\n[^\n]*| ?[^|\n]*`%s[ `]"):format(command)), "README.md: dbobs " .. command)
      assert.is_truthy(help:find(("\n  %s "):format(command)), "dbobs help: " .. command)
    end
  end)

  it("leaves to CI only what CI runs", function()
    local ci = process.read ".ci/run" .. servers.shell "cat tests/spec/live/*.lua docker/check.sh"
    for _, block in ipairs(blocks_of "README.md") do
      for _, line in ipairs(block.kind == "sh ci" and block.lines or {}) do
        local target = line:match "^make ([%w-]+)"
        if target then
          assert.is_truthy(ci:find("make " .. target, 1, true) or ci:find(('"make", "%s"'):format(target), 1, true)
            or ci:find(("tests/%s.sh"):format(target), 1, true), "CI does not run make " .. target)
        end
      end
    end
  end)
end)

describe("every document", function()
  it("names only commands and make targets that there are", function()
    local targets, known = {}, {}
    for names in process.read("Makefile"):gmatch "\n([%w%% -]+):" do
      for name in names:gmatch "%S+" do
        targets[#targets + 1] = "^" .. name:gsub("%-", "%%-"):gsub("%%$", ".+") .. "$"
      end
    end
    local function is_target(name)
      for _, pattern in ipairs(targets) do
        if name:find(pattern) then return true end
      end
      return false
    end
    for _, path in ipairs(documents()) do
      for command in process.read(path):gmatch "[`\n]make ([%l][%w-]+)[`%s]" do
        assert.is_true(is_target(command), path .. ": make " .. command)
      end
      local text = process.read(path)
      for command in text:gmatch "`dbobs ([%l][%w-]*)[`%s]" do known[command] = path end
      for block in text:gmatch "\n```sh[^\n]*\n(.-)\n```" do
        for command in ("\n" .. block):gmatch "\ndbobs ([%l][%w-]*)%s" do known[command] = path end
      end
    end
    for command, path in pairs(known) do
      local code = process.run { command, "--help" }
      assert.equal(0, code, path .. ": dbobs " .. command)
    end
  end)
end)
