-- Records of otel-metrics as OTLP/JSON against their JSON Schema, with every metric on, on servers of every version.
local collector = require "collectors.metrics"
local otlp = require "dbobs.otlp"
local schema = require "support.schema"
local servers = require "support.servers"
local support = require "support.metrics"

describe("metrics as OTLP/JSON", function()
  for _, major in ipairs { 13, 14, 15, 16, 17, 18 } do
    it("are as their JSON Schema says, of version " .. major, function()
      local server = servers.postgres { major = major, name = "queries" }
      local _, records = support.collect(collector, server:target(), { metrics = support.all() })
      local texts = {}
      for i, record in ipairs(records) do texts[i] = assert(otlp.decode(record.value)) end
      assert.is_true(#texts >= 2)
      assert.equal("", schema.problems("otel-metrics", texts))
    end)
  end

  it("are not as it says when something is missing", function()
    assert.not_equal("", schema.problems("otel-metrics", { '{"resourceMetrics":[]}' }))
    assert.not_equal("", schema.problems("raw-logs", { "{}" }))
    assert.not_equal("", schema.problems("raw-queries", { "{}" }))
  end)
end)
