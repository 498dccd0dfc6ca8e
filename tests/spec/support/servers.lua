--- Real servers for live specs, by tests/servers/*.sh: started at first use, shared by name for the whole run, stopped
--- when this process ends. Commands block: the loop of the test process stands still meanwhile.
local M = {}

local base
local started = {}

--- Runs a shell command.
---@param command string
---@return string output, boolean ok
function M.shell(command)
  local pipe = assert(io.popen(command .. '\necho "exit:$?"'))
  local text = pipe:read "*a"
  pipe:close()
  local output, code = text:match "^(.*)exit:(%d+)%s*$"
  return output, code == "0"
end

--- A text as one word of a shell command.
function M.quote(text)
  return "'" .. tostring(text):gsub("'", [['\'']]) .. "'"
end

--- A new empty directory that is removed when this process ends.
function M.directory()
  if not base then
    -- The shell's parent is this process: when it ends, in whatever way, the directory goes.
    base = M.shell [[
      dir=$(mktemp -d "${TMPDIR:-/tmp}/dbobs-test.XXXXXX") && chmod 755 "$dir" && owner=$PPID &&
      { setsid sh -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; sleep 5; rm -rf "$2"' \
        sh "$owner" "$dir" </dev/null >/dev/null 2>&1 & } &&
      echo "$dir"]]:match "^%S+"
  end
  return (M.shell("mktemp -d " .. base .. "/XXXXXX && chmod 755 " .. base .. "/*"):match "^%S+")
end

local server = {}
server.__index = server

-- Calls the server's script with its directory; raises with the script's output when it fails.
function server:script(verb, ...)
  local words = { "tests/servers/" .. self.kind .. ".sh", verb, M.quote(self.dir) }
  for _, word in ipairs { ... } do words[#words + 1] = M.quote(word) end
  if verb == "start" or verb == "standby" then words[#words + 1] = "--owner $PPID" end
  local output, ok = M.shell(table.concat(words, " ") .. " 2>&1")
  if not ok then error(("%s %s: %s"):format(self.kind, verb, output), 0) end
  for name, value in output:gmatch "(%w+)=([^\n]*)" do
    if verb == "start" or verb == "restart" or verb == "standby" then self[name] = value end
  end
  return output
end

function server:start(...) return self:script("start", ...) end
function server:restart(...) return self:script("restart", ...) end
function server:kill() return self:script "kill" end
function server:pause() return self:script "pause" end
function server:resume() return self:script "resume" end

--- Shuts it down in order; start takes it up again.
function server:stop() return self:script("stop", "--keep") end

--- Runs SQL as superuser; returns what psql prints, unaligned and without headings.
---@param sql string
---@param database string|nil "postgres" by default
function server:psql(sql, database)
  local text = self:script("psql", "-AtqX", "-v", "ON_ERROR_STOP=1", "-d", database or "postgres", "-c", sql)
  return (text:gsub("%s+$", ""))
end

--- libpq parameters of the superuser, changed by `more`.
function server:parameters(more)
  local parameters = {
    host = self.host, port = self.port, user = self.user, password = self.password, dbname = "postgres",
  }
  for name, value in pairs(more or {}) do parameters[name] = value end
  return parameters
end

--- A target with the monitoring role, changed by `more`.
function server:target(more)
  local target = self:parameters { user = "dbobs_monitor", password = "monitor" }
  for name, value in pairs(more or {}) do target[name] = value end
  return target
end

local function get(kind, options)
  options = options or {}
  local name = kind .. "/" .. (options.name or "shared") .. "/" .. (options.major or "")
  if not started[name] then
    local one = setmetatable({ kind = kind, dir = M.directory() .. "/s" }, server)
    if options.primary then
      one:script("standby", options.primary.dir, unpack(options))
    else
      local words = { unpack(options) }
      if options.major then
        words[#words + 1] = "--major"
        words[#words + 1] = options.major
      end
      one:start(unpack(words))
    end
    started[name] = one
  end
  return started[name]
end

--- A PostgreSQL server: {name=, major=, primary= (of a standby), and further words of `postgres.sh start`}.
---@return table server with host, port, user, password, socket, log, data, dir
function M.postgres(options) return get("postgres", options) end

--- A pgbouncer: {name=, "--server", the port of the PostgreSQL server, and further words of `pgbouncer.sh start`}.
---@return table server with host, port, user, password, dir
function M.pgbouncer(options) return get("pgbouncer", options) end

--- A Kafka broker: {name=, and further words of `kafka.sh start`}.
---@return table server with bootstrap, dir
function M.kafka(options) return get("kafka", options) end

--- Stops a server for good and forgets it.
function M.drop(one)
  one:script "stop"
  for name, known in pairs(started) do
    if known == one then started[name] = nil end
  end
end

return M
