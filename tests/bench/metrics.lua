-- Scrapes a server as the metrics collector does, into Kafka: `warm` times, then `count` times with `pause` seconds
-- between. It prints what it finds and waits for the caller, who measures the server meanwhile, to make the file
-- `go`.<line>: "warm", "measured <CPU milliseconds of this process a scrape>", "counted <records> <points> <bytes of
-- the largest record>" after one scrape more, and then it stays.
local dbobs = require "dbobs"
local json = require "cjson"
local memory = require "dbobs.core.memory"
local otlp = require "dbobs.otlp"
local run = require "dbobs.run"
local sink = require "dbobs.sink"
local target = require "dbobs.target"

local given = dbobs.arguments {
  warm = 2, count = 5, pause = 1, connections = 0, brokers = "", host = "", port = "", go = "",
}

local collector = require "collectors.metrics"
local kafka = dbobs.kafka { ["bootstrap.servers"] = given.brokers }
local topic = kafka:topic("otel-metrics", { when_full = "drop_oldest" })
-- However many databases there are and however busy the machine is: it is to be measured whole.
local options = { deadline = "20m" }
for name, value in pairs(collector.options) do options[name] = value end
local job = {
  collector = collector,
  options = options,
  state = {},
  target = assert(target.new {
    host = given.host, port = given.port, user = "dbobs_monitor", password = "monitor", dbname = "postgres",
    databases = { "bench_*" },
    connections = given.connections > 0 and given.connections or nil,
  }),
}

local function scrape(to)
  local batch = sink.batch()
  local current = run.new(job, to, batch)
  assert(collector.collect(current))
  assert(current.failed_parts == 0, "a part of the scrape failed")
  if to == topic then assert(sink.wait(batch)) end
end

local function scrapes(count)
  for _ = 1, count do
    scrape(topic)
    dbobs.sleep(given.pause)
  end
end

local function points_of(record)
  local points = 0
  for _, resource in ipairs(json.decode((assert(otlp.decode(record.value)))).resourceMetrics) do
    for _, metric in ipairs(resource.scopeMetrics[1].metrics) do
      points = points + #(metric.sum or metric.gauge).dataPoints
    end
  end
  return points
end

local lines = 0
local function say(...)
  io.stdout:write(table.concat({ ... }, " "), "\n")
  io.stdout:flush()
  lines = lines + 1
  local file
  repeat
    dbobs.sleep "20ms"
    file = io.open(("%s.%d"):format(given.go, lines))
  until file
  file:close()
end

scrapes(given.warm)
say "warm"
local before = os.clock()
scrapes(given.count)
say("measured", ("%.2f"):format((os.clock() - before) * 1000 / given.count))
local out = memory()
scrape(out)
local records, points, largest = out:take(), 0, 0
for _, record in ipairs(records) do
  points, largest = points + points_of(record), math.max(largest, #record.value)
end
say("counted", #records, points, largest)
