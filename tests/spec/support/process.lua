--- Processes under test: dbobs started as a person would start it, its output and exit code.
local servers = require "support.servers"
local timer = require "dbobs.timer"

local M = {}

M.dbobs = os.getenv "DBOBS" or "build/dbobs"

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end
M.read = read

--- Writes a file and returns its path.
function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local process = {}
process.__index = process

-- Positions in files are kept apart from those of other processes and of the person who runs the tests.
local function environment_words(environment, dir)
  local words = { "DBOBS_STATE_DIR=" .. servers.quote(dir .. "/state") }
  for name, value in pairs(environment or {}) do words[#words + 1] = name .. "=" .. servers.quote(value) end
  return table.concat(words, " ")
end

--- Starts `dbobs <words>` in the background.
---@param words string[]
---@param environment table<string, string>|nil
---@param options {directory: string|nil, command: string|nil, input: string|nil}|nil working directory; another
---  command than dbobs; a file for its standard input
function M.start(words, environment, options)
  options = options or {}
  local dir = servers.directory()
  local one = setmetatable({ dir = dir, out = dir .. "/out", err = dir .. "/err", code = dir .. "/code" }, process)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = servers.quote(word) end
  local command = options.command or servers.quote(M.dbobs)
  local inner = ("cd %s && exec env %s %s %s >%s 2>%s <%s"):format(servers.quote(options.directory or "."),
    environment_words(environment, dir), command, table.concat(quoted, " "), one.out, one.err,
    servers.quote(options.input or "/dev/null"))
  local outer = ("(%s) & pid=$!; echo $pid >%s/pid; wait $pid; echo $? >%s.new; mv %s.new %s"):format(inner, dir,
    one.code, one.code, one.code)
  servers.shell(("setsid sh -c %s </dev/null >/dev/null 2>&1 &"):format(servers.quote(outer)))
  M.until_true(function() return (read(dir .. "/pid") or "") ~= "" end, "the process to start")
  one.pid = tonumber(read(dir .. "/pid"))
  return one
end

--- Waits until the condition holds; raises with `what` when it does not within a long time.
function M.until_true(condition, what)
  local until_time = timer.monotonic() + 60
  repeat
    local value = condition()
    if value then return value end
    timer.sleep "20ms"
  until timer.monotonic() > until_time
  error("waited in vain for " .. what, 2)
end

function process:stdout() return read(self.out) or "" end
function process:stderr() return read(self.err) or "" end
function process:signal(name) os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid)) end
function process:running() return read(self.code) == nil end

--- Waits for the end; returns the exit code.
function process:wait()
  local what = ("process %d to end; it said: %s"):format(self.pid, self:stderr())
  M.until_true(function() return not self:running() end, what)
  return tonumber(read(self.code))
end

--- Waits until standard error (or output) holds the pattern.
function process:says(pattern, where)
  return M.until_true(function()
    return (where == "out" and self:stdout() or self:stderr()):match(pattern)
  end, ("'%s'; stderr: %s"):format(pattern, self:stderr()))
end

--- Runs `dbobs <words>` to its end.
---@return integer code, string stdout, string stderr
function M.run(words, environment, options)
  local one = M.start(words, environment, options)
  local code = one:wait()
  return code, one:stdout(), one:stderr()
end

return M
