-- The reference of the Lua API against the functions that are really there.
local dbobs = require "dbobs"
local reference = require "dbobs.reference"
local reference_text = require "dbobs.reference_text"
local sys = require "dbobs.core.sys"

local fields = getmetatable(dbobs).fields
local model = reference.read(fields)

-- What LuaCATS knows of its own.
local BUILTIN = {}
for name in ("any boolean number integer string table function userdata nil true false fun thread self " ..
  "cdata"):gmatch "%S+" do BUILTIN[name] = true end

local function names_of(entries)
  local names = {}
  for _, entry in ipairs(entries) do names[#names + 1] = entry.name end
  table.sort(names)
  return names
end

local function is_internal(module, name)
  local text = sys.embedded("lua/" .. module:gsub("%.", "/") .. ".lua")
  local before = ""
  for line in text:gmatch "[^\n]*" do
    if line:find("function M." .. name .. "(", 1, true) == 1 or line:find("M." .. name .. " =", 1, true) == 1 then
      return before:find "^%-%-%-@package" ~= nil
    end
    if line ~= "" then before = line end
  end
  return false
end

-- Every upvalue of functions, through tables and functions of the same module: finds the tables that are classes.
local function find_local(value, wanted, seen)
  if type(value) == "function" and not seen[value] then
    seen[value] = true
    for i = 1, 255 do
      local name, inner = debug.getupvalue(value, i)
      if not name then break end
      if name == wanted and type(inner) == "table" and rawget(inner, "__index") == inner then return inner end
      local found = type(inner) == "function" and find_local(inner, wanted, seen)
      if found then return found end
    end
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for _, inner in pairs(value) do
      local found = type(inner) == "function" and find_local(inner, wanted, seen)
      if found then return found end
    end
  end
end

-- The methods of a class as they are in the process: those of its table, or of its userdata.
local USERDATA = {
  ["dbobs.chunk"] = function() return require("dbobs.core.pgresult").make({ "a" }, { { "1" } }) end,
  ["dbobs.otlp.series"] = function() return dbobs.otlp.series() end,
}

local function methods_of(class)
  if USERDATA[class.name] then
    return getmetatable(USERDATA[class.name]()).__index
  end
  if class.name == "dbobs.kafka.topic" then return require("dbobs.core.kafka").topic_methods end
  return class.variable and find_local(require(class.module), class.variable, {}) or {}
end

local function each_entry(visit)
  for _, entry in ipairs(model.functions) do visit(entry, "dbobs." .. entry.name) end
  for _, module in ipairs(model.modules) do
    if module.call then visit(module.call, "dbobs." .. module.name) end
    for _, entry in ipairs(module.entries) do visit(entry, ("dbobs.%s.%s"):format(module.name, entry.name)) end
  end
  for _, class in ipairs(model.classes) do
    for _, entry in ipairs(class.entries) do visit(entry, class.name .. ":" .. entry.name) end
  end
end

describe("the reference of the Lua API", function()
  it("has every field of dbobs, and nothing else", function()
    for field, place in pairs(fields) do
      assert.is_not_nil(dbobs[field], field)
      assert.equal(place[2] and type(dbobs[field]) == "function", place[2] and true, field)
    end
    local names = names_of(model.functions)
    for _, module in ipairs(model.modules) do names[#names + 1] = module.name end
    table.sort(names)
    local expected = {}
    for field in pairs(fields) do expected[#expected + 1] = field end
    table.sort(expected)
    assert.same(expected, names)
  end)

  for _, module in ipairs(model.modules) do
    it(("has every function of dbobs.%s, and nothing else"):format(module.name), function()
      local expected = {}
      for name in pairs(require(module.module)) do
        if not is_internal(module.module, name) then expected[#expected + 1] = name end
      end
      table.sort(expected)
      assert.same(expected, names_of(module.entries))
      for _, entry in ipairs(module.entries) do
        local real = require(module.module)[entry.name]
        assert.equal(reference.is_value(entry), type(real) ~= "function", entry.name)
      end
      local mt = getmetatable(require(module.module)) or {}
      if module.call and not fields[module.name].call then assert.is_function(mt.__call) end
      if mt.__call then assert.is_table(module.call) end
    end)
  end

  for _, class in ipairs(model.classes) do
    it(("has every method of %s, and nothing else"):format(class.name), function()
      local real, documented, expected = methods_of(class), {}, {}
      for _, entry in ipairs(class.entries) do documented[entry.name] = true end
      for _, field in ipairs(class.fields) do
        local name, kind = field:match "^([%w_]+) (%S*)"
        if kind and kind:find "^fun%(" and USERDATA[class.name] then documented[name] = true end
      end
      for name, value in pairs(real) do
        -- What stands in C behind methods in Lua is their core.
        local is_function = type(value) == "function"
        local core = is_function and debug.getinfo(value, "S").what == "C" and not USERDATA[class.name]
        if is_function and not core and not name:find "^__" then expected[name] = true end
      end
      for _, name in ipairs(class.internal or {}) do expected[name] = nil end
      assert.same(expected, documented)
    end)
  end

  it("says what each is for, and names and types each parameter", function()
    local problems = {}
    each_entry(function(entry, name)
      if #entry.text == 0 then problems[#problems + 1] = name .. ": no text" end
      local annotated, about = {}, reference.parts(entry)
      for i, one in ipairs(about) do
        annotated[i] = one.name
        if one.type == "" then problems[#problems + 1] = ("%s: no type of %s"):format(name, one.name) end
      end
      local given, said = table.concat(reference.parameters(entry), ", "), table.concat(annotated, ", ")
      if given ~= said then problems[#problems + 1] = ("%s(%s) is annotated (%s)"):format(name, given, said) end
    end)
    assert.same({}, problems)
  end)

  it("names no type that is not there", function()
    local known, problems = {}, {}
    for _, class in ipairs(model.classes) do known[class.name] = true end
    local function check(types, where)
      for _, kind in ipairs(types) do
        -- without texts, and the names of fields and parameters
        local bare = kind:gsub('"[^"]*"', ""):gsub("[%w_.%[%]]+%s*:", " ")
        for word in bare:gmatch "[%a][%w_.]*" do
          if not BUILTIN[word] and not known[word] then
            problems[#problems + 1] = ("%s: %s in %s"):format(where, word, kind)
          end
        end
      end
    end
    each_entry(function(entry, name) check(reference.types(entry), name) end)
    for _, class in ipairs(model.classes) do check(reference.field_types(class), class.name) end
    assert.same({}, problems)
  end)

  it("is a definition file that Lua can read", function()
    local meta = reference_text.meta(model)
    assert.is_function(loadstring(meta))
    assert.matches("^%-%-%-@meta dbobs\n", meta)
  end)

  it("stands beside the sources as the sources have it (make docs)", function()
    local file = assert(io.open("lua/README.md", "rb"))
    local text = file:read "*a"
    file:close()
    assert.equal(reference_text.markdown(model), text)
  end)
end)
