-- lua/dbobs/log_sql.lua, lua/dbobs/log_sql_grants.lua and src/tail_remote*.c with real servers.
local collector = require "support.collector"
local grants = require "dbobs.log_sql_grants"
local log_sql = require "dbobs.log_sql"
local logs = require "collectors.logs"
local memory = require "dbobs.core.memory"
local pool = require "dbobs.pool"
local postgres = require "dbobs.postgres"
local process = require "support.process"
local servers = require "support.servers"
local sys = require "dbobs.core.sys"
local tail = require "dbobs.tail"
local task = require "dbobs.task"

local ENVELOPE = { host = "h", port = 1, database = "d", environment = "e", tags = {} }
local LIMIT = 60

local function server_of(major, name, ...)
  return servers.postgres { name = name or "log_sql", major = major, "--set", "log_rotation_age=0",
    "--set", "log_filename=postgresql.log", ... }
end

-- A role and what makes it able to read the log.
local function role(server, name, statements)
  server:psql(("do $$ begin create role %s login password 'x'; exception when duplicate_object then null; end $$")
    :format(name))
  for _, statement in ipairs(statements) do server:psql(statement) end
  return server:parameters { user = name, password = "x" }
end

local READ = "grant execute on function pg_read_binary_file(text, bigint, bigint, boolean) to "

local function least(server)
  return role(server, "log_least", { "grant pg_monitor to log_least", READ .. "log_least" })
end

for _, major in ipairs { 13, 18 } do
  describe(("the log over SQL from PostgreSQL %d"):format(major), function()
    local server, followers, directory
    local suffix = major < 15 and "csv" or "json"
    local format = major < 15 and "csvlog" or "jsonlog"

    setup(function() server = server_of(major) end)

    before_each(function()
      followers, directory = {}, servers.directory()
    end)

    after_each(function()
      for _, one in ipairs(followers) do one:close() end
    end)

    local function follow(given)
      local out = { sink = memory(), records = {} }
      local one = assert(tail.server_log {
        path = given.path or "log_directory", format = given.format or format, envelope = ENVELOPE, timezone = "UTC",
        checkpoint = given.checkpoint or (directory .. "/position"), to = out.sink, poll = "50ms", grace = "200ms",
        log_line_prefix = given.prefix,
        sql = not given.path and log_sql.new { parameters = given.parameters or least(server),
          pattern = given.pattern or "postgresql." .. suffix, poll = "50ms", queries = given.queries } or nil,
      })
      followers[#followers + 1] = one
      return one, out
    end

    -- Takes turns until a record holds the text; all records so far.
    local function read_until(one, out, text)
      local late = sys.monotonic() + LIMIT
      while true do
        local outcome = assert(one:turn())
        local found = false
        for _, record in ipairs(out.sink:take()) do
          out.records[#out.records + 1] = record.value
          found = found or record.value:find(text, 1, true) ~= nil
        end
        if found then return out.records end
        assert(sys.monotonic() < late, ("no '%s' in %d records"):format(text, #out.records))
        if outcome == "wait" then task.wait(one.follower.core, 0.05) end
      end
    end

    local function say(text) server:psql(("do $$ begin raise log '%s'; end $$"):format(text)) end

    local function log_path(name) return ("%s/log/%s"):format(server.dir, name or ("postgresql." .. suffix)) end

    -- What the server's log must not hold meanwhile is left to the spec: each says texts of its own.
    local function uids(list)
      local known = {}
      for _, value in ipairs(list) do
        local uid = value:match '"uid":"([^"]+)"'
        assert.is_nil(known[uid], "twice: " .. uid)
        known[uid] = true
      end
      return known
    end

    it("is that of the file, record by record", function()
      server:psql [[do $$ begin for i in 1..300 loop raise log '% %', i, repeat(E'\303\244"\n,', i); end loop; end $$]]
      say "the last"
      local one, out = follow {}
      local over_sql = read_until(one, out, "the last")
      local other, from_file = follow { path = log_path(), checkpoint = directory .. "/file" }
      local of_file = read_until(other, from_file, "the last")
      for i = 1, math.min(#of_file, #over_sql) do assert.equal(of_file[i], over_sql[i]) end
      assert.is_true(#over_sql >= 301 and #of_file >= 301)
    end)

    it("is that of the file in the plain format, whose uid is of the file and the offset", function()
      server:psql [[do $$ begin for i in 1..50 loop raise log E'plain %\nsecond', i using hint = 'h'; end loop; end $$]]
      say "plainly the last"
      local prefix = server:psql("select current_setting('log_line_prefix') || '.'"):sub(1, -2)
      local given = { format = "stderr", prefix = prefix, pattern = "postgresql.log" }
      local one, out = follow(given)
      local over_sql = read_until(one, out, "plainly the last")
      local other, from_file = follow { format = "stderr", prefix = prefix, path = log_path "postgresql.log",
        checkpoint = directory .. "/file" }
      local of_file = read_until(other, from_file, "plainly the last")
      for i = 1, math.min(#of_file, #over_sql) do assert.equal(of_file[i], over_sql[i]) end
      assert.is_true(#over_sql >= 51 and #of_file >= 51)
    end)

    it("is read on over rotations of every kind and restarts of dbobs and of the server, each line once", function()
      local one, out = follow {}
      say "before the rename"
      read_until(one, out, "before the rename")

      say "renamed before it was read"
      assert(os.rename(log_path(), log_path() .. ".1"))
      server:psql "select pg_rotate_logfile()"
      say "after the rename"
      read_until(one, out, "after the rename")

      say "copied"
      local _, ok = servers.shell(("cp %s %s.2 && truncate -s 0 %s"):format(log_path(), log_path(), log_path()))
      assert.is_true(ok)
      say "after the truncation"
      read_until(one, out, "after the truncation")

      task.wait(nil, 0.1)
      one:flush()
      one:close()
      say "while dbobs was away"
      assert(os.rename(log_path(), log_path() .. ".3"))
      server:psql "select pg_rotate_logfile()"
      say "after dbobs was away"
      local again, more = follow {}
      more.records = out.records
      read_until(again, more, "after dbobs was away")

      server:psql "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'log_least'"
      say "after the connection was lost"
      read_until(again, more, "after the connection was lost")
      server:restart()
      say "after the restart"
      local all = read_until(again, more, "after the restart")
      uids(all)
      for _, text in ipairs { "before the rename", "renamed before it was read", "after the rename", "copied",
        "after the truncation", "while dbobs was away", "after dbobs was away" } do
        local found = 0
        for _, value in ipairs(all) do
          if value:find(('"message":"%s"'):format(text), 1, true) then found = found + 1 end
        end
        assert.equal(1, found, text)
      end
    end)

    it("says what the role lacks and how to give it, and reads on when that was done", function()
      local parameters = role(server, "log_none", {})
      local source = log_sql.new { parameters = parameters, pattern = "postgresql." .. suffix }
      local files, problem = source:list()
      assert.is_nil(files)
      assert.matches("role log_none may not read the server's log over SQL", problem)
      assert.matches("GRANT pg_monitor TO \"log_none\";", problem, 1, true)
      for statement in problem:match("^(.-) Or,"):gmatch "GRANT [^;]+;" do server:psql(statement) end
      assert.truthy(assert(source:list())[1])
      source.db:close()
    end)

    it("says the statements of the careful way, which can be taken from the log as they stand", function()
      local parameters = role(server, "log_careful", {})
      local source = log_sql.new { parameters = parameters, pattern = "postgresql." .. suffix }
      local _, problem = source:list()
      assert.is_nil(problem:find "\n")
      server:psql(problem:match "CREATE SCHEMA.*$")
      assert.truthy(assert(source:list())[1])
      assert.equal("helper", source.way)
      source.db:close()
      server:psql "drop schema dbobs cascade"
    end)

    it("is read through the helper alone, which reads nothing else", function()
      role(server, "log_helper", {})
      server:psql(grants.helper { role = "log_helper" })
      local parameters = server:parameters { user = "log_helper", password = "x" }
      say "through the helper"
      local one, out = follow { parameters = parameters }
      read_until(one, out, "through the helper")
      assert.equal("helper", one.follower.source.way)

      local db = assert(postgres.connect(parameters))
      for _, name in ipairs { "../postgresql.conf", "../../etc/passwd", "/etc/passwd", ".", "..", "../log/x", "none",
        "..\\x" } do
        local row = assert(db:query("select dbobs.log_read($1, 0, 100) as bytes", name))[1]
        assert.is_nil(row.bytes, name)
      end
      assert.is_nil(db:query "select pg_read_binary_file('postgresql.conf', 0, 10, true)")
      assert.truthy(assert(db:query("select dbobs.log_read($1, 0, 10) as bytes", "postgresql." .. suffix))[1].bytes)
      db:close()
      local other = assert(postgres.connect(role(server, "log_nobody", {})))
      assert.is_nil(other:query "select * from dbobs.log_files()")
      other:close()
      server:psql "drop schema dbobs cascade"
    end)

    it("does not call functions of somebody else that have the helper's names", function()
      role(server, "log_owner", { "create schema dbobs authorization log_owner" })
      server:psql [[set role log_owner;
        create function dbobs.log_files(out name text, out size bigint, out modified timestamptz) returns setof record
          security definer language sql as 'select name, size, modification from pg_ls_logdir()';
        create function dbobs.log_read(file text, at bigint, bytes bigint) returns bytea
          security definer language sql as 'select null::bytea';
        grant usage on schema dbobs to public]]
      local source = log_sql.new { parameters = least(server) }
      assert.truthy(source:list())
      assert.equal("direct", source.way)
      source.db:close()
      server:psql "drop schema dbobs cascade"
    end)

    it("is what the collector reads with log_source = sql, in the format that is best", function()
      local parameters = least(server)
      parameters.name, parameters.log_source = "over_sql", "sql"
      local current = collector.run(logs, parameters)
      function current:checkpoint() return directory .. "/collector.json" end -- luacheck: ignore 212
      local before = assert(logs.check(current))
      assert.matches("over SQL: [%d.]+ .?B behind .*, %d+ files?, read from the beginning at the first start", before)
      say "for the collector"
      local follower = task.spawn(logs.follow, current)
      local record
      process.until_true(function()
        for _, one in ipairs(collector.records(current.out)) do
          if one.payload.record and one.payload.record.message == "for the collector" then record = one end
        end
        return record
      end, "the line")
      task.wait(nil, 0.1)
      task.cancel(follower)
      task.join(follower)
      assert.equal("LOG", record.payload.record.error_severity)
      -- Its own connections are logged as well, so that something is behind.
      local after = assert(logs.check(current))
      assert.matches("over SQL: ", after, 1, true)
      assert.is_nil(after:find("at the first start", 1, true))
      pool.close(current.target)
    end)

    it("is read through two queries of the user's own", function()
      say "by own queries"
      local one, out = follow {
        parameters = least(server), pattern = "*",
        queries = function()
          return {
            list = ("select name, size, null::timestamptz from pg_ls_logdir() where name = 'postgresql.%s';")
              :format(suffix),
            read = "select pg_read_binary_file(current_setting('log_directory') || '/' || $1, $2, $3, true)",
          }
        end,
      }
      read_until(one, out, "by own queries")
      local source = log_sql.new { parameters = least(server), queries = function() return {} end }
      local _, problem = source:list()
      assert.matches("log_queries must return", problem)
    end)

    it("does not feed itself where the server logs every statement", function()
      local parameters = least(server)
      server:psql "alter role log_least set log_statement = 'all'"
      server:psql "alter role log_least set log_min_duration_statement = 0"
      local one, out = follow { parameters = parameters }
      say "with every statement logged"
      read_until(one, out, "with every statement logged")
      -- The first looks found what was there before.
      local pieces, lists, late = 0, -3, sys.monotonic() + LIMIT
      while lists < 10 do
        assert(one:turn())
        for _, record in ipairs(out.sink:take()) do
          if record.value:find("execute <unnamed>: /* dbobs */ select (select", 1, true) then
            pieces = lists < 0 and 0 or pieces + 1
          end
          if record.value:find("execute <unnamed>: /* dbobs */ select name::text", 1, true) then lists = lists + 1 end
        end
        assert(sys.monotonic() < late, ("%d looks logged in time"):format(lists))
        task.wait(one.follower.core, 0.05)
      end
      -- What a look adds is one piece of the next one.
      assert.is_true(pieces > 0 and pieces <= lists + 2, ("%d pieces in %d looks"):format(pieces, lists))
      server:psql "alter role log_least reset all"
    end)
  end)
end

describe("the log over SQL of a standby", function()
  it("is its own", function()
    local primary = servers.postgres { name = "log_sql_primary", "--fresh" }
    local parameters = least(primary)
    local standby = servers.postgres { name = "log_sql_standby", primary = primary }
    local out = memory()
    local one = assert(tail.server_log { path = "log_directory", format = "jsonlog", envelope = ENVELOPE,
      timezone = "UTC", checkpoint = servers.directory() .. "/position", to = out,
      sql = log_sql.new { parameters = standby:parameters { user = parameters.user, password = "x" },
        pattern = "*.json", poll = "50ms" } })
    local late, found = sys.monotonic() + LIMIT, false
    while not found do
      assert(sys.monotonic() < late, "not in time")
      assert(one:turn())
      for _, record in ipairs(out:take()) do
        found = found or record.value:find("read-only connections", 1, true) ~= nil
      end
      task.wait(one.follower.core, 0.05)
    end
    one:close()
    servers.drop(standby)
    servers.drop(primary)
  end)
end)
