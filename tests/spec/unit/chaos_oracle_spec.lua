-- tests/chaos: the oracle sees what is missing, doubled, swapped, torn or told under another name.
local cjson = require "cjson"
local format = require "tests.chaos.format"
local oracle = require "tests.chaos.oracle"

-- A record as it stands in the topic; the body is the writer's own.
local function record(number, changes)
  local message = cjson.decode(format.formats.jsonlog.record(number)).message
  local payload = { uid = "s/" .. number, record = { message = message } }
  for name, value in pairs(changes or {}) do payload[name] = value end
  return cjson.encode { tags = { log = "jsonlog" }, payload = payload } .. "\n"
end

local function counts(...)
  local one = oracle.new()
  local text = table.concat { ... }
  -- In pieces, as they are read while kcat writes.
  for from = 1, #text, 100 do one:read(text:sub(from, from + 99)) end
  return one:of "jsonlog", one
end

describe("the oracle of make chaos", function()
  it("finds nothing wrong with what is complete", function()
    local seen = counts(record(1), record(2), record(3))
    assert.same({ 3, 0, 0, 0, 0 }, { seen.received, seen.repeated, seen.disordered, seen.torn, seen.changed })
    assert.equal(0, (seen:lost(3)))
  end)

  it("tells what is missing", function()
    local lost, which = counts(record(2), record(5)):lost(7)
    assert.same({ 5, "1-1 3-4 6-7" }, { lost, which })
  end)

  it("tells what came twice, and under another name", function()
    local seen = counts(record(1), record(1), record(2), record(2, { uid = "s/3" }), record(4, { uid = "s/1" }))
    assert.same({ 2, 2 }, { seen.repeated, seen.changed })
  end)

  it("tells what came behind a later one", function()
    assert.equal(1, counts(record(1), record(3), record(2), record(4)).disordered)
  end)

  it("tells what is torn, and what is none of the writer's", function()
    local message = cjson.decode(format.formats.jsonlog.record(2)).message
    local seen, all = counts(record(1), record(2, { record = { message = message:sub(1, 30) } }),
      record(3, { record = cjson.null, text = "half" }), "no JSON\n")
    assert.same({ 2, 1 }, { seen.torn, all.foreign })
    assert.equal(2, (seen:lost(3)))
  end)
end)
