-- lua/dbobs/log_progress.lua: what is told while a backlog is caught up on, and while Kafka takes nothing.
local counters = require "dbobs.counters"
local log = require "dbobs.log"
local log_progress = require "dbobs.log_progress"
local sys = require "dbobs.core.sys"

local MB = 1e6

describe("the progress of a log", function()
  local saved, now, lines, told, seen, columns

  before_each(function()
    saved = { log = sys.log, monotonic = sys.monotonic, columns = sys.columns, is_terminal = sys.is_terminal,
      event = log.event, has_status = log.has_status }
    now, lines, told, columns = 1000, {}, {}, 80
    sys.monotonic = function() return now end
    sys.log = function(text) lines[#lines + 1] = text end
    sys.columns = function() return columns end
    log.event = function(level, message, fields)
      told[#told + 1] = ("%s %s%s"):format(level, message, fields.target and " " .. fields.target or "")
    end
    seen = { size = 0, acknowledged = 0, delivered = 0, at_risk = 0 }
  end)

  after_each(function()
    sys.log, sys.monotonic, sys.columns, sys.is_terminal = saved.log, saved.monotonic, saved.columns, saved.is_terminal
    log.event, log.has_status = saved.event, saved.has_status
  end)

  local function look(progress, seconds, sent, written)
    now = now + seconds
    seen.delivered, seen.acknowledged = seen.delivered + (sent or 0), seen.acknowledged + (sent or 0)
    seen.size = seen.size + (written or 0)
    progress:look { progress = function() return seen end }
  end

  it("is told in the log every ten seconds while there is a backlog, and when it is over", function()
    log.has_status = function() return false end
    local progress = log_progress.new "orders"
    look(progress, 0, 0, 1000 * MB)
    assert.same({}, told)
    for _ = 1, 21 do look(progress, 1, 20 * MB) end
    assert.same({ "info catching up: 20 % of 1.0 GB, 20.0 MB/s, 40 s left orders",
      "info catching up: 40 % of 1.0 GB, 20.0 MB/s, 30 s left orders" }, told)
    for _ = 1, 29 do look(progress, 1, 20 * MB) end
    assert.equal("info caught up: 1.0 GB in 50 s orders", told[#told])
    local count = #told
    look(progress, 20)
    assert.equal(count, #told)
  end)

  it("is not told of a log that is read as it is written", function()
    log.has_status = function() return false end
    local progress = log_progress.new "orders"
    for _ = 1, 50 do look(progress, 1, 5 * MB, 5 * MB) end
    assert.same({}, told)
  end)

  it("is over when reading keeps up with a writer that never rests", function()
    log.has_status = function() return false end
    local progress = log_progress.new "orders"
    look(progress, 0, 0, 100 * MB)
    for _ = 1, 9 do look(progress, 1, 20 * MB, 10 * MB) end
    for _ = 1, 20 do look(progress, 1, 10 * MB, 10 * MB) end
    assert.same({ "info caught up: 180.0 MB in 9 s orders" }, told)
  end)

  it("is told when few bytes are left for long", function()
    log.has_status = function() return false end
    local progress = log_progress.new "orders"
    look(progress, 0, 0, 2 * MB)
    for _ = 1, 30 do look(progress, 1) end
    assert.equal("info catching up: 0 % of 2.0 MB, 0.0 MB/s orders", told[1])
    look(progress, 10, 2 * MB)
    assert.matches("^info caught up: 2.0 MB in ", told[#told])
  end)

  it("is one line on a terminal, for all logs together, as wide as that is", function()
    log.has_status = function() return true end
    sys.is_terminal = function() return false end
    local status = {}
    local original = log.status
    log.status = function(text) status[#status + 1] = text or "none" end
    finally(function() log.status = original end)
    local one, two = log_progress.new "orders", log_progress.new "billing"
    look(one, 0, 0, 1000 * MB)
    look(one, 10, 100 * MB)
    assert.equal("catching up on orders: 10 % of 1.0 GB, 10.0 MB/s, 1 min 30 s left", status[#status])
    columns = 40
    look(one, 10, 100 * MB)
    assert.equal("20 %, 10.0 MB/s, 1 min 20 s left", status[#status])
    columns = 80
    look(two, 1)
    assert.matches("^catching up on 2 logs: 11 %% of 1.8 GB, 10.0 MB/s", status[#status])
    two:stop()
    assert.matches("^catching up on orders", status[#status])
    look(one, 10, 800 * MB)
    assert.equal("none", status[#status])
    assert.same({ "info caught up: 1.0 GB in 31 s orders" }, told)
  end)

  it("tells what is at risk while nothing is taken, again when it has doubled, and when that is over", function()
    log.has_status = function() return false end
    local progress = log_progress.new "risky"
    local function risk(bytes, seconds)
      seen.at_risk = bytes
      look(progress, seconds, 0, bytes)
    end
    risk(10 * MB, 1)
    for _ = 1, 12 do look(progress, 2) end
    assert.is_nil(table.concat(told, "\n"):find("rotated", 1, true))
    for _ = 1, 12 do look(progress, 2) end
    assert.matches("warn nothing of the log is taken by Kafka: its rotated files", table.concat(told, "\n"), 1, true)
    risk(15 * MB, 5)
    assert.is_nil(table.concat(told, "\n"):find("more bytes", 1, true))
    risk(20 * MB, 5)
    assert.matches("warn more bytes of rotated log files are at risk risky", table.concat(told, "\n"), 1, true)
    local function figure(name)
      for _, one in ipairs(counters.all()) do
        if one[2] == "risky" and one[3] == name then return one[4] end
      end
    end
    assert.same({ 20 * MB, 45 * MB }, { figure "bytes_at_risk", figure "bytes_behind" })
    seen.at_risk = 0
    look(progress, 5, 45 * MB)
    assert.matches("info over: nothing of the log is taken", table.concat(told, "\n"), 1, true)
    assert.same({ 0, 0 }, { figure "bytes_at_risk", figure "bytes_behind" })
    counters.forget "risky"
  end)

  it("says times and sizes as people do", function()
    assert.same({ "0 s", "59 s", "1 min 0 s", "3 min 20 s", "2 h 5 min", "3 d 1 h" }, {
      log_progress.duration(0.2), log_progress.duration(59.4), log_progress.duration(59.6), log_progress.duration(200),
      log_progress.duration(7500), log_progress.duration(3 * 86400 + 3700) })
    assert.same({ "0 B", "999 B", "1.0 kB", "12.4 MB", "1.0 GB" }, { log_progress.size(0), log_progress.size(999),
      log_progress.size(1000), log_progress.size(12.4e6), log_progress.size(999.96e6) })
  end)
end)

describe("the status line", function()
  it("is cleared before an event of the log, and never wider than the terminal", function()
    local saved = { log = sys.log, columns = sys.columns, has_status = log.has_status }
    finally(function() sys.log, sys.columns, log.has_status = saved.log, saved.columns, saved.has_status end)
    local lines = {}
    sys.log = function(text) lines[#lines + 1] = text end
    sys.columns = function() return 10 end
    log.has_status = function() return true end
    log.status "more than ten columns"
    log.warn "event"
    log.warn "event"
    log.status(nil)
    assert.equal("more than\r", lines[1])
    assert.matches("^\r         \r[^\r]*event", lines[2])
    assert.is_nil(lines[3]:find "\r")
    assert.equal(3, #lines)
  end)
end)
