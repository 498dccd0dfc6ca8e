local sink = require "dbobs.sink"
local sys = require "dbobs.core.sys"

describe("sink", function()
  it("counts what a batch sent", function()
    local batch = sink.batch()
    local out = sink.discard()
    assert.is_true(sink.send(out, "k", "v", batch))
    assert.is_true(sink.send(out, nil, "", batch))
    assert.same({ 2, 0, 0 }, { sink.status(batch) })
    assert.is_true(sink.wait(batch))
  end)

  it("raises for what is no topic", function()
    local ok, cause = pcall(sink.send, {}, "k", "v")
    assert.is_false(ok)
    assert.matches("a topic %(and not closed%) expected, got table", cause)
  end)
end)

describe("counters", function()
  it("add up for each collector, target and name", function()
    local counters = require "dbobs.counters"
    counters.add("spec", "b", "rows", 5)
    counters.add("spec", "b", "rows", 2 ^ 40)
    counters.add("spec", "a", "rows")
    local seen = {}
    for _, counter in ipairs(counters.all()) do
      if counter[1] == "spec" then seen[#seen + 1] = counter end
    end
    assert.same({ { "spec", "a", "rows", 1 }, { "spec", "b", "rows", 2 ^ 40 + 5 } }, seen)
  end)
end)

describe("the embedded files", function()
  it("hold the library, the pipelines and the bill of materials", function()
    for _, path in ipairs { "lua/dbobs/init.lua", "pipelines/pg.lua", "zoneinfo/Europe/Berlin", "sbom.json" } do
      assert.is_true(#sys.embedded(path) > 0)
    end
    assert.is_nil(sys.embedded "lua/dbobs")
    assert.is_true(#sys.embedded_list "pipelines/" >= 6)
  end)
end)
