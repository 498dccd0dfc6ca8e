local options = require "dbobs.options"

describe("options", function()
  local known = {
    every = "duration", name = "string", top = "number|string", mode = { one = { "a", "b" } }, on = "boolean",
  }

  it("takes what is right", function()
    assert.is_nil(options.problem({ every = "5s", name = "x", top = 3, mode = "a", on = false }, known, "thing"))
  end)

  it("names the nearest known option for a misspelt one", function()
    assert.equal("thing: unknown option 'evry'; did you mean 'every'?", options.problem({ evry = 1 }, known, "thing"))
    assert.equal("thing: unknown option 'xyzzy'; known are: every, mode, name, on, top",
      options.problem({ xyzzy = 1 }, known, "thing"))
  end)

  it("names the option, what it must be and what it is", function()
    assert.matches("option 'name' must be string, got table", options.problem({ name = {} }, known, "thing"))
    assert.matches("option 'every' must be a duration like .*, got 'often'",
      options.problem({ every = "often" }, known, "thing"))
    assert.matches("option 'mode' must be one of a, b, got 'c'", options.problem({ mode = "c" }, known, "thing"))
    assert.matches("option 'top' must be number or string, got boolean",
      options.problem({ top = true }, known, "thing"))
    assert.matches("a table expected, got number", options.problem(3, known, "thing"))
  end)

  it("raises where it was called from", function()
    local function api(given) options.check(given, known, "api") end
    local ok, cause = pcall(function() api { nme = 1 } end)
    assert.is_false(ok)
    assert.matches("^tests/spec/unit/options_spec.lua:%d+: api: unknown option 'nme'; did you mean 'name'", cause)
  end)
end)
