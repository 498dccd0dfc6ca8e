local cjson = require "cjson"
local log = require "dbobs.log"
local sys = require "dbobs.core.sys"

describe("log", function()
  local lines, original, monotonic

  before_each(function()
    lines, original, monotonic = {}, sys.log, sys.monotonic
    sys.log = function(text) lines[#lines + 1] = text end
  end)

  after_each(function()
    sys.log, sys.monotonic = original, monotonic
    log.configure { format = "text", level = "info" }
  end)

  it("writes one event a line, whatever is in it", function()
    for _, format in ipairs(log.formats) do
      log.configure { format = format }
      log.error("two\nlines", { traceback = "a\n\tb\n\tc", target = 'say "hi"' })
    end
    assert.equal(3, #lines)
    for _, line in ipairs(lines) do
      assert.equal(1, select(2, line:gsub("\n", "")))
      assert.equal("\n", line:sub(-1))
    end
    assert.matches('target="say \\"hi\\""', lines[1])
    assert.matches('traceback="a | b | c"', lines[2])
    assert.equal("a\n\tb\n\tc", cjson.decode(lines[3]).traceback)
    assert.equal("error", cjson.decode(lines[3]).level)
  end)

  it("leaves out what is below its level", function()
    log.configure { level = "warn" }
    log.info "no"
    log.debug "no"
    log.warn "yes"
    assert.equal(1, #lines)
  end)

  it("tells a condition when it begins, rarely while it lasts, and when it ends", function()
    local now = 1000
    sys.monotonic = function() return now end
    local function look(active) log.condition("key", active, "warn", "server is away", { target = "x" }) end
    look(false)
    assert.equal(0, #lines)
    look(true)
    for _ = 1, 100 do
      now = now + 1
      look(true)
    end
    assert.equal(1, #lines)
    now = now + 600
    look(true)
    assert.equal(2, #lines)
    assert.matches("still: server is away.*lasts=700s", lines[2])
    look(false)
    look(false)
    assert.equal(3, #lines)
    assert.matches("over: server is away", lines[3])
  end)
end)
