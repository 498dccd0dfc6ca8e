-- 1,000 idle timers, `connections` idle PostgreSQL connections and, when `rate` is above 0, a producer of that many
-- records a second, in one process. Writes its pid to `ready` when all of it stands.
local dbobs = require "dbobs"

local options = dbobs.arguments { connections = 200, timers = 1000, rate = 0, brokers = "", ready = "", seconds = 60 }

for _ = 1, options.timers do
  dbobs.spawn(dbobs.every, "1h", function() end, { jitter = "1h" })
end

local connections = {}
for i = 1, options.connections do connections[i] = assert(dbobs.postgres.connect {}) end
assert(#connections == options.connections)

if options.rate > 0 then
  local kafka = dbobs.kafka { ["bootstrap.servers"] = options.brokers }
  local topic = kafka:topic "bench"
  local value = ("x"):rep(200)
  dbobs.spawn(dbobs.every, "10ms", function()
    for _ = 1, options.rate / 100 do dbobs.send(topic, nil, value) end
  end)
end

local file = assert(io.open(options.ready, "w"))
file:write "ready\n"
file:close()
dbobs.sleep(options.seconds)
