local inspect = require "dbobs.inspect"
local terminal = require "dbobs.terminal"

describe("inspect", function()
  it("shows values as Lua writes them, sorted, with what is nested", function()
    assert.equal('"a\\nb\\"\\0"', inspect.text 'a\nb"\0')
    assert.equal('{ 1, "x", [2.5] = true, a = {}, ["end"] = 1 }',
      inspect.text { 1, "x", [2.5] = true, ["end"] = 1, a = {} })
    local loop = { name = "l" }
    loop.self = loop
    assert.equal('{ name = "l", self = {...} }', inspect.text(loop))
    local long = {}
    for i = 1, 200 do long[i] = i end
    assert.matches("\n  50,\n  %.%.%. 150 more\n}$", inspect.text(long))
    assert.equal("{ { { { {...} } } } }", inspect.text { { { { { 1 } } } } })
  end)

  it("hides passwords, wherever they stand", function()
    for _, text in ipairs {
      "host=a password=s3cret user=b", "password='s3cret'", "postgresql://u:s3cret@h/db", '{"password": "s3cret"}',
      "ALTER ROLE x PASSWORD 's3cret'", "sasl.password=s3cret", "kafka://u:s3cret@h:9092", "sslpassword = s3cret",
      "password = \"s3cret\"",
    } do
      assert.is_nil(inspect.hide(text):find("s3cret", 1, true), text .. " -> " .. inspect.hide(text))
      assert.is_nil(inspect.text { text }:find("s3cret", 1, true))
    end
    assert.is_nil(inspect.text { password = "s3cret", ["sasl.password"] = "s3cret" }:find("s3cret", 1, true))
    assert.equal("host=a user=b", inspect.hide "host=a user=b")
    assert.equal('{ password_command = "cat file" }', inspect.text { password_command = "cat file" })
  end)

  it("tells what a query returned", function()
    assert.is_true(inspect.is_result { columns = { "a" } })
    assert.is_false(inspect.is_result { columns = "a" })
    assert.is_false(inspect.is_result { 1 })
  end)
end)

-- A terminal of some width that keeps what is printed on it.
local function screen(columns)
  local out, text = terminal.output(), {}
  out.columns, out.colour = columns, false
  function out:write(piece) -- luacheck: ignore 212
    text[#text + 1] = piece
    return true
  end
  return out, function() return table.concat(text) end
end

describe("terminal", function()
  it("breaks text at its blanks, and leaves long words whole", function()
    assert.equal("aa bb cc dd ee ff gg\nhh\n", terminal.wrap("aa bb cc dd ee ff gg hh", 20))
    assert.equal("  - one\n", terminal.wrap("one", 40, "    ", "  - "))
    local word = ("x"):rep(60)
    assert.equal("a\n" .. word .. "\nb\n", terminal.wrap("a " .. word .. " b", 30))
    assert.equal("a b\n", terminal.wrap("a\nb", nil))
  end)

  it("counts characters, not bytes", function()
    assert.equal(3, terminal.width "äöü")
    assert.equal("äö…", terminal.shorten("äöüß", 3))
    assert.equal("äöü", terminal.shorten("äöü", 3))
  end)

  it("prints a table as wide as its contents, cut on a narrow terminal, in blocks on a narrower one", function()
    local columns = { { title = "name", least = 6 }, { title = "n", right = true }, { title = "state" } }
    local rows = { { "a-long-name", 5, "ok" }, { "b", 1234 } }
    local wide, wide_text = screen(nil)
    wide:table(columns, rows)
    assert.equal("name            n  state\na-long-name     5  ok\nb            1234\n", wide_text())
    local narrow, narrow_text = screen(21)
    narrow:table(columns, rows)
    assert.equal("name         n  state\na-long-…     5  ok\nb         1234\n", narrow_text())
    local tiny, tiny_text = screen(12)
    tiny:table(columns, rows)
    assert.equal("a-long-name\n  n  5\n  state  ok\nb\n  n  1234\n", tiny_text())
  end)

  it("fits help texts into 40 columns", function()
    for _, command in ipairs(require "dbobs.commands") do
      local usage = require("dbobs.cli." .. command).usage
      local out, text = screen(40)
      out:help(usage)
      for line in text():gmatch "[^\n]+" do
        local _, words = line:gsub("%S+", "")
        assert.is_true(terminal.width(line) <= 40 or words == 1 or line:find '{"topic"' ~= nil,
          command .. ": " .. line)
      end
      assert.equal((usage:gsub("%s+", "")), (text():gsub("%s+", "")))
    end
  end)

  it("gives bytes their unit", function()
    assert.equal("0 B", terminal.bytes(0))
    assert.equal("999 B", terminal.bytes(999))
    assert.equal("1.5 kB", terminal.bytes(1500))
    assert.equal("123 MB", terminal.bytes(123e6))
  end)
end)
