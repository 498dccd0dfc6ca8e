-- The three formats of a server's log, as real servers of several versions write them at the same time: what is read
-- from csvlog is what is read from jsonlog, and stderr says as much as its prefix and its lines do.
local collector = require "support.collector"
local logs = require "collectors.logs"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local schema = require "support.schema"
local servers = require "support.servers"
local task = require "dbobs.task"

local PREFIX = "%m [%p] %q%u@%d/%a %e %c "

local function talk(server)
  local db = assert(postgres.connect(server:parameters { dbname = "app", application_name = 'odd "name", ERROR:  x' }))
  db:query "select 1/0 as \"two\nlines\""
  db:query [[do $$ begin raise warning E'a\tb\n\n"quoted", text' using detail = E'd1\nd2', hint = 'h'; end $$]]
  db:query [[do $$ begin perform 1/0; end $$]]
  db:query "selec"
  db:query [[do $$ begin raise log '2026-01-01 00:00:00.000 CET,"a","b",1,,x,1,,,,0,LOG,00000,"m",,,,,,,,,""'; end $$]]
  assert.is_nil((postgres.connect(server:parameters { password = "wrong" })))
  db:query "do $$ begin raise log 'the last line'; end $$"
  db:close()
end

-- The records of a log file up to the one of the last line.
local function records_of(server, name)
  local directory = servers.directory()
  local current = collector.run(logs, server:target { log_file = (server.log:gsub("[^/]+$", name)) })
  function current:checkpoint() return directory .. "/position.json" end -- luacheck: ignore 212
  local follower = task.spawn(logs.follow, current)
  local seen, last = {}, nil
  local _, late = task.deadline("60s", function()
    while not last do
      for _, one in ipairs(collector.records(current.out)) do
        seen[#seen + 1] = one
        last = last or one.payload.record and one.payload.record.message:find "the last line" and #seen
      end
      task.wait(nil, 0.02)
    end
    return true
  end)
  task.cancel(follower)
  task.join(follower)
  current.out:take() -- what came since then counts as delivered, so that nobody waits for it
  pool.close(current.target)
  assert.is_nil(late)
  for i = #seen, last + 1, -1 do seen[i] = nil end
  return collector.keep(seen)
end

-- What stderr has under no escape of the prefix above, or under a count of its own.
local ONLY_ELSEWHERE = { line_num = true, ps = true, session_start = true, vxid = true, txid = true, query_id = true,
  backend_type = true, remote_host = true, remote_port = true, session_id = true, leader_pid = true }

for _, major in ipairs { 13, 15, 18 } do
  describe("the log formats of version " .. major, function()
    local server, csv, json, plain

    setup(function()
      server = servers.postgres { major = major, name = "formats",
        "--set", "log_destination=stderr,csvlog" .. (major >= 15 and ",jsonlog" or ""),
        "--set", "log_line_prefix=" .. PREFIX, "--set", "log_timezone=Europe/Berlin",
        "--set", "log_error_verbosity=verbose" }
      talk(server)
      csv, plain = records_of(server, "postgresql.csv"), records_of(server, "postgresql.log")
      json = major >= 15 and records_of(server, "postgresql.json") or nil
    end)

    it("are read whole, with no line left over", function()
      for _, list in ipairs { csv, plain } do
        assert.is_true(#list >= 7)
        for _, one in ipairs(list) do assert.is_nil(one.payload.unparsed, one.payload.text) end
      end
    end)

    if major >= 15 then it("say the same in csvlog and jsonlog", function()
      assert.equal(#json, #csv)
      for i, one in ipairs(json) do
        assert.same(one.payload, csv[i].payload)
        assert.equal(one.timestamp, csv[i].timestamp)
        assert.same(one.tags, csv[i].tags)
      end
    end) end

    it("say the same in stderr as far as it goes", function()
      -- Before the log files are there stderr goes elsewhere: from the end on.
      for back = 0, math.min(#csv, #plain) - 1 do
        local one, other = csv[#csv - back], plain[#plain - back]
        assert.equal(one.payload.event_type, other.payload.event_type)
        assert.equal(one.timestamp, other.timestamp)
        for name, value in pairs(one.payload.record) do
          if not ONLY_ELSEWHERE[name] then assert.equal(value, other.payload.record[name], name) end
        end
      end
    end)
  end)
end

describe("all these records", function()
  it("are as their JSON Schema says", function()
    schema.verify(collector.shapes, { "log", "query_error" })
  end)
end)
