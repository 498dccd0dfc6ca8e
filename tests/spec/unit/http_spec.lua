local http = require "dbobs.http"
local process = require "support.process"
local servers = require "support.servers"
local task = require "dbobs.task"

-- Sends bytes to a port and returns all that comes back until the other side closes.
local function raw(port, bytes)
  local file = process.write(servers.directory() .. "/request", bytes)
  local client = process.start({ "-c", ("exec 3<>/dev/tcp/127.0.0.1/%d; cat %s >&3; cat <&3"):format(port, file) }, {},
    { command = "bash" })
  client:wait()
  return client:stdout()
end

local function get(port, path)
  local head = ("GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n"):format(path, port)
  return raw(port, head .. "\r\n")
end

describe("an HTTP server", function()
  local server

  local function serve(handler, more)
    local given = { address = "127.0.0.1:0", handler = handler }
    for name, value in pairs(more or {}) do given[name] = value end
    server = assert(http.serve(given))
    return server.port
  end

  -- A spec whose server is closed at its end.
  local function serves(name, fn)
    it(name, function()
      local ok, cause = pcall(fn)
      if server then server:close() end
      server = nil
      if not ok then error(cause, 0) end
    end)
  end

  serves("gives path and query decoded, and sends status, headers and body", function()
    local seen
    local port = serve(function(request)
      seen = request
      return { status = 201, headers = { ["content-type"] = "text/x" }, body = "hello" }
    end)
    local text = get(port, "/a%20b/c?x=1%262&name=%C3%A9&flag")
    assert.equal("/a b/c", seen.path)
    assert.same({ x = "1&2", name = "\195\169", flag = "" }, seen.query)
    assert.matches("^HTTP/1.1 201 ", text)
    assert.matches("content%-type: text/x\r\n", text)
    assert.matches("content%-length: 5\r\n", text)
    assert.matches("\r\n\r\nhello$", text)
  end)

  serves("answers several requests on one connection, one after another", function()
    local port = serve(function(request) return { body = "<" .. request.path .. ">" } end)
    local client = process.start({ "-c", ([[exec 3<>/dev/tcp/127.0.0.1/%d
      ask() { printf 'GET /%%s HTTP/1.1\r\nHost: localhost\r\n%%s\r\n' "$1" "$2" >&3; }
      ask 1; while read -r -d '>' text <&3; do echo "$text"; case $text in *1) ask 2 "Connection: close
";; esac; done]]):format(port) }, {}, { command = "bash" })
    client:wait()
    assert.matches("</1\nHTTP/1.1 200.*</2\n$", client:stdout())
  end)

  serves("lets a handler wait while others are answered", function()
    local latch = require "dbobs.core.latch"()
    local port = serve(function(request)
      if request.path == "/slow" then task.wait(latch) else latch:signal() end
      return { body = request.path }
    end)
    local slow
    local waiting = task.spawn(function() slow = get(port, "/slow") end)
    assert.matches("/quick$", get(port, "/quick"))
    task.join(waiting)
    assert.matches("/slow$", slow)
  end)

  serves("sends a large body, and a stream of unknown length, whole", function()
    local large = ("0123456789abcdef"):rep(2 ^ 17)
    local port = serve(function(request)
      if request.path == "/large" then return { body = large } end
      return { stream = function(write)
        for i = 1, 64 do assert.is_true(write(large:sub(1, 2 ^ 15) .. i .. "\n")) end
      end }
    end)
    assert.equal(large, get(port, "/large"):match "\r\n\r\n(.*)$")
    local text = get(port, "/stream")
    assert.matches("connection: close", text)
    assert.equal(64, select(2, text:match("\r\n\r\n(.*)$"):gsub("\n", "")))
    assert.matches("64\n$", text)
  end)

  serves("tells a stream that its client is gone", function()
    local gone
    local port = serve(function()
      return { stream = function(write)
        repeat task.wait(nil, 0.01) until not write "x"
        gone = true
      end }
    end)
    local client = process.start({ "-c", ([[exec 3<>/dev/tcp/127.0.0.1/%d
      printf 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3; head -c 300 <&3]]):format(port) }, {},
      { command = "bash" })
    client:wait()
    process.until_true(function() return gone end, "the stream to end")
  end)

  serves("sends the head of an answer to HEAD alone, and refuses other methods", function()
    local port = serve(function() return { body = "hello" } end)
    local text = raw(port, "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert.matches("content%-length: 5\r\n\r\n$", text)
    text = raw(port, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
    assert.matches("^HTTP/1.1 405 ", text)
  end)

  serves("sends the head of a stream to HEAD, and does not begin it", function()
    local begun
    local port = serve(function() return { stream = function() begun = true end } end)
    assert.matches("^HTTP/1.1 200 .*\r\n\r\n$", raw(port, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    assert.is_nil(begun)
  end)

  it("ends a connection for which there is no descriptor, and answers when there are some again", function()
    local directory = servers.directory()
    local file = process.write(directory .. "/server.lua", ([[
      local http = require "dbobs.http"
      local lfs = require "lfs"
      local server = assert(http.serve { address = "127.0.0.1:0", handler = function() return { body = "hello" } end })
      local opened, file = {}, true
      while file do
        file = io.open "/dev/null"
        opened[#opened + 1] = file
      end
      io.stderr:write(server.port, "\n")
      while not lfs.attributes %q do require("dbobs.timer").sleep "10ms" end
      for _, one in ipairs(opened) do one:close() end
      io.stderr:write "free"]]):format(directory .. "/on"))
    local one = process.start({ "-c", ('ulimit -n 100; exec "%s" run %s'):format(process.dbobs, file) }, {},
      { command = "bash" })
    process.until_true(function() return one:stderr():find "\n" end, "the port")
    local port = tonumber(one:stderr():match "%d+")
    assert.equal("", get(port, "/"))
    process.write(directory .. "/on", "")
    process.until_true(function() return one:stderr():find "free" end, "descriptors")
    assert.matches("hello$", get(port, "/"))
    one:signal "TERM"
    assert.equal(0, one:wait(), one:stderr())
  end)

  serves("says what is not there, and tells nothing of an error inside", function()
    local port = serve(function(request)
      if request.path == "/error" then error "secret" end
    end)
    assert.matches("^HTTP/1.1 404 ", get(port, "/"))
    local text = get(port, "/error")
    assert.matches("^HTTP/1.1 500 ", text)
    assert.is_nil(text:find "secret")
  end)

  serves("refuses whoever calls it by another name", function()
    local port = serve(function() return { body = "hello" } end, { hosts = { "db1" } })
    for _, host in ipairs { "localhost", "127.0.0.1:" .. port, "[::1]:1", "DB1:80" } do
      assert.matches("^HTTP/1.1 200 ", raw(port, "GET / HTTP/1.1\r\nHost: " .. host .. "\r\nConnection: close\r\n\r\n"))
    end
    for _, lines in ipairs {
      "Host: evil.example", "Host: localhost\r\nHost: evil.example", "X: y", "Host: localhost.evil",
    } do
      assert.matches("^HTTP/1.1 40[03] ", raw(port, "GET / HTTP/1.1\r\n" .. lines .. "\r\nConnection: close\r\n\r\n"))
    end
  end)

  serves("is not upset by what is no request", function()
    local port = serve(function() return { body = "hello" } end)
    for _, bytes in ipairs {
      "\0\255\1", "GET", "GET / HTTP/9.9", ("x"):rep(100000), "GET /" .. ("a"):rep(20000) .. " HTTP/1.1",
      "GET / HTTP/1.1\r\n" .. ("X: " .. ("y"):rep(1000) .. "\r\n"):rep(40),
      "GET /%zz?%=%&&= HTTP/1.1\r\nHost: localhost\r\nConnection: close",
    } do
      raw(port, bytes .. "\r\n\r\n")
    end
    assert.matches("hello$", get(port, "/"))
  end)

  serves("ends what is being answered when it is closed", function()
    local begun
    local port = serve(function()
      begun = true
      task.wait(nil, 3600)
    end)
    local client = task.spawn(function() return get(port, "/") end)
    process.until_true(function() return begun end, "the request")
    server:close()
    server = nil
    local _, text = task.join(client)
    assert.equal("", text)
  end)

  serves("names the process that has the port", function()
    local port = serve(function() return {} end)
    local other, cause = http.serve { address = "127.0.0.1:" .. port, handler = function() return {} end }
    assert.is_nil(other)
    assert.matches("cannot listen on 127.0.0.1:" .. port .. ": .*in use %(.+, process %d+ has it%)", cause)
  end)

  serves("refuses what is no address where it is written", function()
    for _, address in ipairs { "8080", "127.0.0.1:99999", "", ":80" } do
      assert.has_error(function() http.serve { address = address, handler = function() end } end,
        ("dbobs.http.serve: '%s' is no address: like 127.0.0.1:8080 or [::1]:8080 expected"):format(address))
    end
    local _, cause = http.serve { address = "no.host:80", handler = function() end }
    assert.equal("http.serve: cannot listen on no.host:80: 'no.host' is no IPv4 or IPv6 address", cause)
  end)

  serves("loses nothing by many starts and stops", function()
    for _ = 1, 100 do
      server = assert(http.serve { address = "127.0.0.1:0", handler = function() return { body = "x" } end })
      server:close()
      task.wait(nil, 0)
    end
    server = nil
  end)
end)
