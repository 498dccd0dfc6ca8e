--- Numbered lines: a log with one number a line, and the oracle that counts them in a topic.
local process = require "support.process"
local servers = require "support.servers"
local support = require "support.kafka"
local timer = require "dbobs.timer"

local M = {}

local log = {}
log.__index = log

--- A new log file in a directory of its own.
function M.new()
  local directory = servers.directory()
  return setmetatable({ directory = directory, path = directory .. "/server.json", written = 0, rotations = 0 }, log)
end

--- Appends lines with the next numbers.
---@param count integer
---@param path string|nil another name of the file
function log:write(count, path)
  local lines = {}
  for i = 1, count do
    lines[i] = ('{"timestamp":"2026-01-31 12:00:00.000 UTC","session_id":"s","line_num":%d,"message":"%s"}\n'):format(
      self.written + i, ("x"):rep(150))
  end
  self.written = self.written + count
  local file = assert(io.open(path or self.path, "ab"))
  file:write(table.concat(lines))
  file:close()
end

--- Renames the file, writes some lines more to it under its new name, and begins a new one.
function log:rotate()
  self.rotations = self.rotations + 1
  local old = ("%s.%d"):format(self.path, self.rotations)
  os.rename(self.path, old)
  self:write(10, old)
  self:write(10)
end

--- How often each line is in a topic, for a reader with isolation.level read_committed.
---@return integer seen lines, integer repeated
function M.count(bootstrap, topic)
  local counts, seen, repeated = {}, 0, 0
  for _, message in ipairs(support.read(bootstrap, topic, { ["isolation.level"] = "read_committed" })) do
    local number = tonumber(message.value:match '"uid":"s/(%d+)"')
    if counts[number] then repeated = repeated + 1 else seen = seen + 1 end
    counts[number] = true
  end
  return seen, repeated
end

--- Waits until every line is in the topic; raises when one is there twice.
function log:wait_complete(bootstrap, topic)
  local seen, repeated
  for _ = 1, 300 do
    seen, repeated = M.count(bootstrap, topic)
    if seen == self.written or repeated > 0 then break end
    timer.sleep "200ms"
  end
  assert(repeated == 0, ("%d lines came more than once"):format(repeated or 0))
  assert(seen == self.written, ("%d of %d lines came"):format(seen, self.written))
end

--- Starts a dbobs that follows the log into a topic, exactly once.
---@param given {bootstrap: string, topic: string, id: string, every: string|nil, properties: string|nil}
function log:follow(given)
  local script = process.write(self.directory .. "/follow.lua", ([[
    local dbobs = require "dbobs"
    local kafka = dbobs.kafka { ["bootstrap.servers"] = %q, %s }
    local failures, sent = 0, 0
    while failures < 20 do
      local log, cause, final = dbobs.tail.server_log {
        path = %q, poll = "50ms", grace = "1s", timezone = "UTC", delivery = "exactly_once", position = %q,
        to = kafka:exactly_once(%q, { id = %q, every = %q }),
        count = function(lines)
          sent = sent + lines
          dbobs.log.info("sent", { lines = sent })
        end,
        envelope = { host = "h", port = 1, database = "d", environment = "test" },
      }
      if log then
        dbobs.log.info "following"
        _, cause, final = log:run()
      end
      dbobs.log.error("it ended", { error = cause, final = final })
      if final then break end
      failures = failures + 1
      dbobs.sleep "500ms"
    end
    error "stopped for good"]]):format(
    given.bootstrap, given.properties or "", self.path, given.id .. ".logs", given.topic, given.id,
    given.every or "50ms"))
  return process.start { "run", script }
end

return M
