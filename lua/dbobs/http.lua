--- HTTP for a few clients on this machine: the health of a pipeline, the topic monitor. Requests have no body; each is
--- answered by a function that runs in a task of its own and may wait.
local core = require "dbobs.core.http"
local lfs = require "lfs"
local log = require "dbobs.log"
local options = require "dbobs.options"
local task = require "dbobs.task"

local M = {}

-- A stream waits when so many bytes have not gone out.
local MOST_QUEUED = 256 * 1024

---@class dbobs.http.request
---@field method "GET"|"HEAD"
---@field path string percent-decoded, without the query
---@field query table<string, string> percent-decoded
local Request = {}
Request.__index = Request

---@class dbobs.http.answer
---@field status integer|nil 200 by default
---@field headers table<string, string>|nil
---@field body string|nil
---@field stream (fun(write: fun(text: string): boolean))|nil instead of a body: called with a function that sends a
---   part of it, waits while the client is slow, and returns false when the client is gone

-- Splits "127.0.0.1:80", "[::1]:80", "host" into host and port text.
local function split(address)
  local host, port = address:match "^%[(.-)%]:?(%d*)$"
  if not host then host, port = address:match "^([^:]*):?(%d*)$" end
  return host, port ~= "" and port or nil
end

--- Splits an address to listen on.
---@param address string "127.0.0.1:8080", "[::1]:8080"; port 0: a free one
---@return string|nil host, integer|string port, or what is wrong
function M.address(address)
  local host, port = split(address)
  if not host or host == "" or not port or tonumber(port) > 65535 then
    return nil, ("'%s' is no address: like 127.0.0.1:8080 or [::1]:8080 expected"):format(address)
  end
  return host == "localhost" and "127.0.0.1" or host, tonumber(port)
end

local function inode_of_listener(port)
  for _, path in ipairs { "/proc/net/tcp", "/proc/net/tcp6" } do
    local file = io.open(path)
    if file then
      for line in file:lines() do
        local inode = line:match((":%04X %%x+:0000 0A %%S+ %%S+ %%S+ +%%d+ +%%d+ (%%d+)"):format(port))
        if inode then return file:close() and inode end
      end
      file:close()
    end
  end
end

local function holds(pid, socket)
  local ok, names, state = pcall(lfs.dir, "/proc/" .. pid .. "/fd")
  if not ok then return false end
  for name in names, state do
    if lfs.symlinkattributes("/proc/" .. pid .. "/fd/" .. name, "target") == socket then return true end
  end
  return false
end

--- Which process listens on a TCP port of this machine, as far as we may see it: "nginx, process 4711".
---@param port integer
---@return string|nil
function M.listener(port)
  local inode = inode_of_listener(port)
  if not inode then return nil end
  for pid in lfs.dir "/proc" do
    if pid:find "^%d+$" and holds(pid, "socket:[" .. inode .. "]") then
      local file = io.open("/proc/" .. pid .. "/comm")
      local name = file and file:read "*l" or "?"
      if file then file:close() end
      return ("%s, process %s"):format(name, pid)
    end
  end
  return nil
end

local function read_query(list)
  local query = {}
  for _, text in ipairs(list) do
    local name, value = text:match "^([^=]*)=?(.*)$"
    query[name] = value
  end
  return query
end

-- A page of another site must not be able to ask us in the name of somebody's browser: it can make its own name lead
-- here, but not change what it is called ("DNS rebinding").
local function is_ours(server, host)
  local name = split(host:lower())
  return name ~= nil and server.hosts[name] == true
end

local function respond(core_request, status, headers, body, stream)
  local list = {}
  for name, value in pairs(headers) do
    list[#list + 1] = name
    list[#list + 1] = value
  end
  if not core_request:answer(status, list, not stream and #body or nil) then return end
  if not stream then
    core_request:write(body)
  elseif core_request:head() ~= "HEAD" then
    stream(function(text)
      local queued = core_request:write(text)
      while queued > MOST_QUEUED and not core_request:gone() do
        task.wait(core_request)
        queued = core_request:queued()
      end
      return not core_request:gone()
    end)
  end
  core_request:finish()
  while not core_request:gone() do task.wait(core_request) end
end

local function plain(core_request, status, text, more)
  local headers = { ["content-type"] = "text/plain; charset=utf-8" }
  for name, value in pairs(more or {}) do headers[name] = value end
  respond(core_request, status, headers, text .. "\n")
end

local function answer(server, core_request)
  local method, path, host, list = core_request:head()
  if not is_ours(server, host) then
    return plain(core_request, 403, "this server is not called that: " .. host:gsub("[^%w.:%[%]-]", "?"):sub(1, 100))
  end
  if method ~= "GET" and method ~= "HEAD" then
    return plain(core_request, 405, "only GET and HEAD", { allow = "GET, HEAD", connection = "close" })
  end
  local request = setmetatable({ method = method, path = path, query = read_query(list) }, Request)
  local ok, given = pcall(server.handler, request)
  if not ok then
    if given == task.CANCELLED then error(given, 0) end
    log.error("a request failed", { path = path, error = tostring(given) })
    return plain(core_request, 500, "an error inside of dbobs: see its log")
  end
  if not given then return plain(core_request, 404, "there is nothing here") end
  return respond(core_request, given.status or 200, given.headers or {}, given.body or "", given.stream)
end

---@class dbobs.http.server
---@field host string
---@field port integer
local Server = {}
Server.__index = Server

--- Stops listening and ends what is being answered.
function Server:close()
  self.closed = true
  task.cancel(self.task)
  for one in pairs(self.answering) do task.cancel(one) end
  self.core:close()
end

local function answer_alone(self, core_request)
  local me = task.current()
  self.answering[me] = true
  local ok, cause = pcall(answer, self, core_request)
  core_request:close()
  self.answering[me] = nil
  if not ok then error(cause, 0) end
end

local function run(self)
  while not self.closed do
    local core_request = self.core:next()
    if core_request then
      self.spawn(answer_alone, self, core_request)
    else
      task.wait(self.core)
    end
  end
end

--- Serves HTTP/1.1 (RFC 9112) to clients that call this machine by the address, "localhost" or one of `hosts`; others
--- are refused (403). At most 64 connections; a request has 10 s and 8 KiB for its head, and
--- a client that takes nothing of its answer for 30 s is cut off.
---@param given {address: string, handler: function, hosts: string[]|nil, background: boolean|nil}
---   address: "127.0.0.1:8080", port 0 for a free one; handler: given a dbobs.http.request it returns a
---   dbobs.http.answer, or nil when there is no such thing (404); background: it does not keep a script from ending
---@return dbobs.http.server|nil server, string|nil cause "http.serve: ...", which names the process that has the port
function M.serve(given)
  options.check(given, { address = "string", handler = "function", hosts = "table",
    background = "boolean" }, "dbobs.http.serve", 2)
  local host, port = M.address(given.address or "")
  if not host then error("dbobs.http.serve: " .. port, 2) end
  local object, cause, in_use = core.listen(host, port)
  if not object then
    local who = in_use and M.listener(port)
    return nil, ("http.serve: cannot listen on %s: %s%s"):format(given.address, cause,
      who and (" (%s has it)"):format(who) or "")
  end
  local self = setmetatable({ core = object, host = host, port = object:port(), handler = given.handler,
    hosts = { localhost = true, ["127.0.0.1"] = true, ["::1"] = true, [host:lower()] = true }, answering = {} }, Server)
  for _, name in ipairs(given.hosts or {}) do self.hosts[name:lower()] = true end
  self.spawn = given.background and task.background or task.spawn
  self.task = self.spawn(run, self)
  return self
end

local function answer_of(question)
  while true do
    local text, cause = question:answer()
    if text ~= false then return text, cause end
    task.wait(question)
  end
end

--- Asks a server of ours.
---@param address string "127.0.0.1:13133"
---@param path string
---@param timeout string|number duration
---@return integer|nil status, string body, or why there is no answer
function M.get(address, path, timeout)
  local host, port = M.address(address)
  if not host then error("dbobs.http.get: " .. port, 2) end
  local question, cause = core.ask(host, port, ("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n"):format(path))
  if not question then return nil, ("http.get: %s: %s"):format(address, cause) end
  local text
  text, cause = task.deadline(timeout, answer_of, question)
  question:close()
  if not text then return nil, ("http.get: %s: %s"):format(address, cause) end
  local status, body = text:match "^HTTP/1%.%d (%d%d%d)[^\r\n]*\r\n.-\r\n\r\n(.*)$"
  if not status then return nil, ("http.get: %s: what answers there does not speak HTTP"):format(address) end
  return tonumber(status), body
end

return M
