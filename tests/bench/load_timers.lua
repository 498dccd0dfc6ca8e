-- As many tasks as 10,000 connections of an open loop, each waiting for its next arrival: no server, only the timers.
local core = require "dbobs.core.task"
local dbobs = require "dbobs"
local histogram = require "dbobs.core.histogram"
local pacer = require "dbobs.core.pacer"
local schedule = require "dbobs.load.schedule"

local TASKS, RATE, SECONDS = 10000, 10000, 5

local late, timers = histogram.new(), pacer.new()
local starts = dbobs.monotonic() + 0.5
local ends = starts + SECONDS
local arrivals = schedule.new { rate = RATE, poisson = false, start = starts, index = 1, threads = 1 }
local started = 0

local function work()
  local slot = timers:slot()
  while true do
    local due = arrivals:take()
    if due >= ends then return end
    while not slot:reached(due) do core.wait(slot) end
    late:record(dbobs.monotonic() - due)
    started = started + 1
  end
end

local tasks = {}
for i = 1, TASKS do tasks[i] = dbobs.spawn(work) end
for _, task in ipairs(tasks) do dbobs.join(task) end
local user, system = require("dbobs.core.sys").cpu()
print(("%d of %d started; late by p50 %.3f ms, p99 %.3f ms, max %.3f ms; CPU %.1f us an event"):format(started,
  RATE * SECONDS, late:percentile(50) * 1e3, late:percentile(99) * 1e3, late:max() * 1e3,
    (user + system) / started * 1e6))
