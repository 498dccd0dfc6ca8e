local process = require "support.process"
local servers = require "support.servers"

-- dbobs repl with its input in a file.
local function piped(text)
  local file = process.write(servers.directory() .. "/input", text)
  return process.run({}, nil, { command = ("bash -c %s"):format(servers.quote(
    ("exec '%s' repl <%s"):format(process.dbobs, file))) })
end

-- dbobs repl on a terminal, whose keys come through a pipe.
local function at_terminal(environment)
  local dir = servers.directory()
  local pipe = dir .. "/keys"
  servers.shell("mkfifo " .. pipe)
  local inner = ("stty cols 60; echo $$ >%s/repl; exec %s repl"):format(dir, servers.quote(process.dbobs))
  local one = process.start({}, environment, { command = "bash -c " .. servers.quote(
    ("exec 3<>%s; script -qec %s /dev/null <&3"):format(pipe, servers.quote(inner))) })
  local keys = assert(io.open(pipe, "r+"))
  keys:setvbuf "no"
  function one.type(text) keys:write(text) end
  function one.ends()
    local code = one:wait()
    keys:close()
    return code
  end
  function one.stop() servers.shell(("kill -TERM $(cat %s/repl)"):format(dir)) end
  -- What was shown since the last call, until it holds the text.
  local seen = 0
  function one.shows(text)
    process.until_true(function()
      local found, last = one:stdout():find(text, seen + 1, true)
      if found then seen = last end
      return found
    end, ("%q; shown: %q"):format(text, one:stdout():sub(seen + 1)))
  end
  one.shows "dbobs> "
  return one
end

describe("dbobs repl", function()
  it("without a terminal runs what it reads, prints values, goes on after errors and exits with 1 then", function()
    local code, stdout, stderr = piped [[
1 + 1
"ä", nil, { 1, x = { y = true } }
for i = 1, 2 do
  print(i)
end
x = 3
x]]
    assert.equal("2\n\"ä\"\nnil\n{ 1, x = { y = true } }\n1\n2\n3\n", stdout, stderr)
    assert.equal(0, code)
    assert.equal("", stderr)
    code, stdout, stderr = piped "error('boom', 0)\nlocal = 1\nnil, 'a cause'\n'after'\nfunction f()"
    assert.equal('"after"\n', stdout)
    assert.equal(1, code)
    assert.matches("boom\ninput:1: '<name>' expected near '='\na cause\ninput:1: 'end' expected near '<eof>'", stderr)
  end)

  it("waits, and lets tasks go on", function()
    local code, stdout, stderr = piped [[
dbobs.spawn(function() dbobs.sleep "10ms" print "a task" end) and nil
dbobs.sleep "100ms" print "the input"
]]
    assert.equal("nil\na task\nthe input\n", stdout, stderr)
    assert.equal(0, code)
  end)

  it("asks a server, prints the rows as a table, and no password", function()
    local pg = servers.postgres()
    local code, stdout, stderr = piped(([[
db = assert(dbobs.postgres.connect { host = %q, port = %q, user = "postgres", password = "postgres", dbname = "app" })
db:query "select 1 as one, 'secret' as password, null as nothing"
db:query "selekt"
{ password = "s3cret", dsn = "host=x password=s3cret" }
]]):format(pg.host, pg.port))
    assert.matches("one  password  nothing\n1    %*%*%*\n%(1 rows%)\n", stdout, stderr)
    assert.is_nil(stdout:find("s3cret", 1, true))
    assert.matches("syntax error at or near", stderr)
    assert.equal(1, code)
  end)

  it("at a terminal edits lines, remembers them, shows tasks' output above the prompt, and ends with Ctrl-D", function()
    local environment = { TERM = "xterm", DBOBS_STATE_DIR = servers.directory() .. "/new/state" }
    local one = at_terminal(environment)
    one.type "12\27[D\27[D4\r" -- 412, the 4 typed last
    one.shows "\n412\r\n"
    one.type "function f()\r"
    one.shows "    -> "
    one.type "return 'äö'\rend\r"
    one.shows "dbobs> "
    one.type "f()\r"
    one.shows '"äö"\r\n'
    one.type "secret = { password = 'x' }\r"
    one.shows "dbobs> "
    one.type "dbobs.spawn(function() dbobs.sleep '300ms' print('out of a task') end)\r"
    one.shows "userdata"
    one.type "7"
    one.shows "out of a task\r\n"
    one.shows "dbobs> 7"
    one.type "\r"
    one.shows "\n7\r\n"
    one.type "\4"
    assert.equal(0, one.ends())

    one = at_terminal(environment)
    one.type "\27[A\27[A\27[A\r" -- 7, the task, f()
    one.shows "attempt to call global 'f'"
    one.type "\4"
    assert.equal(0, one.ends())
    local history = process.read(environment.DBOBS_STATE_DIR .. "/repl_history")
    assert.matches("412", history)
    assert.is_nil(history:find("password", 1, true))
    local mode = servers.shell("stat -c %a " .. environment.DBOBS_STATE_DIR .. "/repl_history")
    assert.equal("600", mode:match "%d+")
  end)

  it("at a terminal ends with Ctrl-C what runs or waits, or what is typed, and with SIGTERM itself", function()
    local one = at_terminal { TERM = "xterm", NO_COLOR = "1" }
    one.type "print 'it runs' while true do end\r"
    one.shows "\nit runs\r\n"
    one.type "\3"
    one.shows "interrupted\r\n"
    one.shows "dbobs> "
    one.type "print 'it waits' dbobs.sleep '1h'\r"
    one.shows "\nit waits\r\n"
    one.type "\3"
    one.shows "interrupted\r\n"
    one.shows "dbobs> "
    one.type "half a line"
    one.shows "half a line"
    one.type "\3"
    one.shows "^C\r\n"
    one.shows "dbobs> "
    one.type "'still here'\r"
    one.shows '"still here"\r\n'
    one.shows "dbobs> "
    one.stop()
    assert.equal(1, one.ends())
  end)
end)
