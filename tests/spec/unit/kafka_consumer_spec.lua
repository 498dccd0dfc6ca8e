-- Consumers of brokers that are away: src/kafka_consumer.c.
local kafka = require "dbobs.kafka"
local new_broker = require "dbobs.core.kafka_broker"
local support = require "support.kafka"
local task = require "dbobs.task"

describe("consumers whose broker is away", function()
  local broker, consumers

  before_each(function() broker, consumers = new_broker(), {} end)

  after_each(function()
    for _, one in ipairs(consumers) do one:close() end
    broker:close()
  end)

  local function consume(address, more)
    local given = { ["bootstrap.servers"] = address, topics = { "t" } }
    for name, value in pairs(more or {}) do given[name] = value end
    consumers[#consumers + 1] = kafka.consumer(given)
    return consumers[#consumers]
  end

  it("leave the workers to others, however many they are", function()
    support.with_log(function()
      for _ = 1, 40 do consume "127.0.0.1:1" end
      local producer = kafka.producer { ["bootstrap.servers"] = broker:address() }
      local topics, late = task.deadline("60s", function() return producer:topics() end)
      assert.is_nil(late)
      assert.same({}, topics)
      producer:close()
    end)
  end)

  it("begin when it is there, and can be closed before", function()
    support.with_log(function()
      broker:topic("t", 1)
      local producer = kafka.producer { ["bootstrap.servers"] = broker:address() }
      assert(producer:topic("t"):send("k", "v"))
      assert(producer:flush "60s")
      producer:close()
      broker:reachable(false)
      local one, other, third = consume(broker:address()), consume(broker:address()),
        consume(broker:address(), { from = "1h" })
      assert.is_nil(one:poll "1s")
      assert.equal(0, one:partitions())
      other:close()
      broker:reachable(true)
      for _, reader in ipairs { one, third } do
        local message
        support.until_true("the message", function()
          message = reader:poll "100ms"
          return message
        end)
        assert.equal("v", message.value)
        assert.equal(1, reader:partitions())
      end
      local value, cause = other:poll "1s"
      assert.same({ nil, "kafka.poll: the consumer is closed" }, { value, cause })
    end)
  end)
end)
