local random = require "dbobs.core.random"

describe("random numbers of a load test", function()
  local COUNT = 20000

  -- Shares of `parts` equal parts of 1..1000.
  local function shares(method, parts, ...)
    local one, counts = random.new(7, 1, 1), {}
    for part = 1, parts do counts[part] = 0 end
    for _ = 1, COUNT do
      local value = one[method](one, 1, 1000, ...)
      assert.is_true(value >= 1 and value <= 1000 and value % 1 == 0)
      local part = math.floor((value - 1) * parts / 1000) + 1
      counts[part] = counts[part] + 1
    end
    for part = 1, parts do counts[part] = counts[part] / COUNT end
    return counts
  end

  it("repeats itself with the same seed, and not with another or in another connection", function()
    local function first(seed, number)
      local one, values = random.new(seed, number, 8), {}
      for i = 1, 20 do values[i] = one:uniform(1, 1000000) end
      return values
    end
    assert.same(first(1, 1), first(1, 1))
    assert.not_same(first(1, 1), first(2, 1))
    assert.not_same(first(1, 1), first(1, 2))
  end)

  it("is uniform", function()
    for _, share in ipairs(shares("uniform", 10)) do assert.near(0.1, share, 0.01) end
    local one = random.new(1, 1, 1)
    assert.equal(5, one:uniform(5, 5))
    assert.is_true(one:uniform(-2 ^ 53, 2 ^ 53) ~= one:uniform(-2 ^ 53, 2 ^ 53))
  end)

  it("is gaussian: pgbench says that 67 % are in the middle 1 / parameter", function()
    local counts = shares("gaussian", 5, 5)
    assert.near(0.6827, counts[3], 0.015)
    assert.near(counts[2], counts[4], 0.015)
  end)

  it("is exponential: each value is so many times less likely as e^(-parameter / range) says", function()
    local counts, parameter = shares("exponential", 10, 5), 5
    for part = 1, 5 do
      local before, behind = math.exp(-parameter * (part - 1) / 10), math.exp(-parameter * part / 10)
      local expected = (before - behind) / (1 - math.exp(-parameter))
      assert.near(expected, counts[part], 0.012)
    end
  end)

  it("is zipfian: value n is n^parameter times less likely than the first", function()
    for _, parameter in ipairs { 0.8, 1.5 } do
      local one, counts = random.new(3, 1, 1), {}
      for _ = 1, COUNT do
        local value = one:zipfian(1, 100, parameter)
        counts[value] = (counts[value] or 0) + 1
      end
      local total = 0
      for n = 1, 100 do total = total + n ^ -parameter end
      for n = 1, 5 do assert.near(n ^ -parameter / total, counts[n] / COUNT, 0.015) end
    end
  end)

  it("is special: three quarters go to the one percent in the middle", function()
    local one, special = random.new(3, 1, 1), 0
    for _ = 1, COUNT do
      local value = one:special(1, 10000)
      if value >= 4950 and value <= 5050 then special = special + 1 end
    end
    assert.near(0.75, special / COUNT, 0.03)
  end)

  it("makes texts by a pattern, choices and unique numbers", function()
    local a, b, seen = random.new(1, 1, 2), random.new(1, 2, 2), {}
    assert.matches("^%l%l%-%d%d%d$", a:pattern "@@-###")
    assert.equal(0, #a:pattern "")
    assert.equal(20000, #a:pattern(("#"):rep(20000)))
    assert.matches("^%l%l%l%l$", a:text(4))
    assert.is_truthy(({ x = true, y = true })[a:choice { "x", "y" }])
    for _, one in ipairs { a, b } do
      for _ = 1, 100 do
        local value = one:unique()
        assert.is_nil(seen[value])
        seen[value] = true
      end
    end
  end)

  it("refuses what no range is", function()
    local one = random.new(1, 1, 1)
    assert.error_matches(function() one:uniform(2, 1) end, "a range from low to high expected")
    assert.error_matches(function() one:uniform(1, 0 / 0) end, "a range from low to high expected")
    assert.error_matches(function() one:gaussian(1, 2, 1) end, "at least 2")
    assert.error_matches(function() one:zipfian(1, 2, 1) end, "and not 1")
    assert.error_matches(function() one:choice {} end, "the list is empty")
  end)
end)
