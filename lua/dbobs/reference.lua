--- The reference of what `require "dbobs"` gives, read from the annotations in dbobs' own sources, as they are in the
--- binary. dbobs.reference_text makes texts of it. `---@package` marks what is for dbobs' own modules alone: it is left
--- out.
local sys = require "dbobs.core.sys"

local M = {}

local OPENING = { ["("] = ")", ["["] = "]", ["{"] = "}", ["<"] = ">" }
local CLOSING = { [")"] = true, ["]"] = true, ["}"] = true, [">"] = true }

--- Splits an annotation into its type and what stands behind it.
---@param text string like "{a: string}|nil given what it is for"
---@return string type, string rest
function M.split_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if OPENING[c] then depth = depth + 1 end
    if CLOSING[c] then depth = depth - 1 end
    if depth == 0 then
      if c == "," then break end
      -- "fun(): string" and "string | nil" are one type
      if c == " " and not text:sub(1, i - 1):find "[:|]%s*$" and not text:sub(i):find "^%s*|" then break end
    end
    i = i + 1
  end
  return text:sub(1, i - 1), (text:sub(i):gsub("^%s+", ""))
end

-- "boolean|nil ok, string|nil error why" -> { {type, name}, ... } and "why"
local function split_returns(text)
  local found = {}
  while true do
    local kind, rest = M.split_type(text)
    local name, after = rest:match "^([%a_][%w_]*)(.*)$"
    if rest:find "^%.%.%." then name, after = "...", rest:sub(4) end
    -- A word that another word follows on is a name as well: LuaCATS takes the first one for it.
    found[#found + 1] = { type = kind, name = name }
    rest = name and after or rest
    local more = rest:match "^%s*,%s*(.*)$"
    if not more then return found, (rest:gsub("^%s+", "")) end
    text = more
  end
end

--- The parts of an entry's annotations.
---@param entry table of dbobs.reference
---@return {name: string, type: string, about: string}[] parameters
---@return {values: {type: string, name: string|nil}[], about: string}[] returns
function M.parts(entry)
  local parameters, returns = {}, {}
  for _, one in ipairs(entry.tags) do
    if one.tag == "param" then
      local name, rest = one.text:match "^(%S+)%s*(.*)$"
      local kind, about = M.split_type(rest)
      parameters[#parameters + 1] = { name = name, type = kind, about = about }
    elseif one.tag == "return" then
      local values, about = split_returns(one.text)
      returns[#returns + 1] = { values = values, about = about }
    end
  end
  return parameters, returns
end

-- ---- reading sources -------------------------------------------------------

local function trimmed(text)
  return (text:gsub("^%s+", ""):gsub("%s+$", ""))
end

-- A block of `---` lines: its text, and its tags {tag, text}, a continued line joined to the tag's first.
local function parse_block(lines)
  local block = { text = {}, tags = {} }
  for _, line in ipairs(lines) do
    local tag, rest = line:match "^@(%a+)%s*(.*)$"
    if tag then
      table.insert(block.tags, { tag = tag, text = rest })
    elseif #block.tags > 0 then
      local last = block.tags[#block.tags]
      last.text = last.text .. " " .. trimmed(line)
    else
      table.insert(block.text, (line:gsub("^ ", "")))
    end
  end
  return block
end

local function names_in(list)
  local names = {}
  for name in list:gmatch "[^,%s]+" do names[#names + 1] = name end
  return names
end

-- What the line below a block defines: {owner, name, method, params | alias}; params of a plain value are unknown.
local function parse_definition(line)
  local owner, mark, name, params = line:match "^function ([%w_]+)([.:])([%w_]+)%((.-)%)"
  if owner then
    local names = names_in(params)
    local method = mark == ":" or names[1] == "_"
    if names[1] == "_" then table.remove(names, 1) end
    return { owner = owner, name = name, method = method, params = names }
  end
  params = line:match "^%s+__call = function%(([^)]*)%)"
  if params then
    local names = names_in(params)
    table.remove(names, 1)
    return { owner = "M", name = "__call", params = names }
  end
  local value
  owner, name, value = line:match "^([%w_]+)%.([%w_]+) = (.*)$"
  if owner then
    local from, field = value:match "^([%w_]+)%.([%w_]+)$"
    return { owner = owner, name = name, from = from, field = field }
  end
  name = line:match "^local ([%w_]+) = "
  return name and { variable = name }
end

local function tag_of(entry, tag)
  for _, one in ipairs(entry.tags) do
    if one.tag == tag then return one end
  end
end

local function add_class(source, class, variable)
  local name, text = class.text:match "^([%w_.]+)%s*(.*)$"
  local parent = text:match "^:%s*([%w_.]+)"
  local about = text:gsub("^:%s*[%w_.]+%s*", ""):gsub("^%l", string.upper)
  return { name = name, parent = parent, variable = variable, about = about,
    module = source.module, fields = {}, entries = {} }
end

-- Takes one block and the line below it into the source.
local function take(source, block, line)
  local definition = parse_definition(line) or {}
  local class = tag_of(block, "class")
  if class then
    local made = add_class(source, class, definition.variable)
    made.text = block.text
    for _, one in ipairs(block.tags) do
      if one.tag == "field" then table.insert(made.fields, one.text) end
    end
    table.insert(source.classes, made)
    if definition.variable then source.by_variable[definition.variable] = made end
  elseif definition.name then
    definition.text, definition.tags = block.text, block.tags
    definition.documented = #block.text + #block.tags > 0
    local owner = source.by_variable[definition.owner]
    if definition.owner == "M" then
      source.entries[definition.name] = definition
    elseif owner then
      table.insert(owner.entries, definition)
    end
  end
end

local function parse(module, text)
  local source = { module = module, entries = {}, classes = {}, by_variable = {}, requires = {}, text = {} }
  local block, first = {}, true
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local comment = line:match "^%s*%-%-%-(.*)$"
    local variable, required = line:match '^local ([%w_]+) = require "(dbobs[%w_.]*)"$'
    if variable then source.requires[variable] = required end
    if comment and not comment:find "^%-" then
      block[#block + 1] = comment
    else
      if first and #block > 0 then
        source.text = parse_block(block).text
      else
        take(source, parse_block(block), line)
      end
      first, block = false, {}
    end
  end
  return source
end

local function new_reader()
  local sources = {}
  return function(module)
    if sources[module] == nil then
      local text = sys.embedded("lua/" .. module:gsub("%.", "/") .. ".lua")
      sources[module] = text and parse(module, text) or false
    end
    return sources[module] or nil
  end
end

-- What is defined as another module's function has that one's annotations, unless it has its own.
local function resolve(read, source, entry)
  local module = entry.from and source.requires[entry.from]
  local other = module and read(module)
  local target = other and other.entries[entry.field]
  if not target or #entry.tags > 0 then return entry end
  target = resolve(read, other, target)
  local copy = {}
  for name, value in pairs(target) do copy[name] = value end
  copy.name = entry.name
  if #entry.text > 0 then copy.text = entry.text end
  return copy
end

local function is_public(entry)
  return entry.documented and not tag_of(entry, "package")
end

local function sorted_entries(entries)
  table.sort(entries, function(a, b) return a.name < b.name end)
  return entries
end

--- The names of an entry's parameters: those of its definition, else of its annotations.
---@param entry table
---@return string[]
function M.parameters(entry)
  if entry.params then return entry.params end
  local names = {}
  for _, one in ipairs(entry.tags) do
    if one.tag == "param" then names[#names + 1] = one.text:match "^[%w_.]+" end
  end
  return names
end

--- Whether an entry is a value and no function.
---@param entry table
---@return boolean
function M.is_value(entry)
  return tag_of(entry, "type") ~= nil
end

-- All classes of dbobs' sources by name.
local function all_classes(read)
  local classes = {}
  for _, path in ipairs(sys.embedded_list "lua/dbobs/") do
    local module = path:match "^lua/(dbobs/[%w_/]+)%.lua$"
    for _, class in ipairs(module and read((module:gsub("/", "."))).classes or {}) do classes[class.name] = class end
  end
  return classes
end

--- The types in an entry's annotations.
---@param entry table
---@return string[]
function M.types(entry)
  local types = {}
  local parameters, returns = M.parts(entry)
  for _, one in ipairs(parameters) do types[#types + 1] = one.type end
  for _, one in ipairs(returns) do
    for _, value in ipairs(one.values) do types[#types + 1] = value.type end
  end
  return types
end

--- The types of a class' fields and of what it is derived from.
---@param class table
---@return string[]
function M.field_types(class)
  local types = { class.parent }
  for _, field in ipairs(class.fields) do types[#types + 1] = M.split_type(field:match "^%S+%s*(.*)$") end
  return types
end

-- Adds the classes that types name, and those that these name.
local function add_named(model, classes, types)
  for name in table.concat(types, " "):gmatch "dbobs%.[%w_.]*[%w_]" do
    local class = classes[name]
    if class and not model.has[name] then
      model.has[name] = true
      table.insert(model.classes, class)
      add_named(model, classes, M.field_types(class))
      for _, entry in ipairs(class.entries) do
        if is_public(entry) then add_named(model, classes, M.types(entry)) end
      end
    end
  end
end

-- A class with its public entries; the names of the others are kept beside them.
local function public_class(class)
  local copy = setmetatable({ entries = {}, internal = {} }, { __index = class })
  for _, entry in ipairs(class.entries) do
    if is_public(entry) then table.insert(copy.entries, entry) else table.insert(copy.internal, entry.name) end
  end
  return copy
end

local function read_module(read, field, module)
  local source = read(module)
  local found = { name = field, module = module, text = source.text, entries = {} }
  for _, entry in pairs(source.entries) do
    entry = resolve(read, source, entry)
    if is_public(entry) and entry.name == "__call" then found.call = entry
    elseif is_public(entry) then table.insert(found.entries, entry) end
  end
  sorted_entries(found.entries)
  return found
end

--- Reads the sources.
---@param fields table<string, {[1]: string, [2]: string|nil, call: string[]|nil}> what `require "dbobs"` gives: the
---   module of each field, and the function there; call: where the function stands that is run when it is called
---@return {functions: table[], modules: table[], classes: table[]} model
function M.read(fields)
  local read = new_reader()
  local model = { functions = {}, modules = {}, classes = {}, has = {} }
  for field, place in pairs(fields) do
    if place[2] then
      local source = read(place[1])
      local entry = resolve(read, source, source.entries[place[2]] or { text = {}, tags = {} })
      local named = setmetatable({ name = field }, { __index = entry })
      table.insert(model.functions, named)
    else
      local found = read_module(read, field, place[1])
      local call = place.call and read(place.call[1])
      if call then found.call = call.entries[place.call[2]] end
      table.insert(model.modules, found)
    end
  end
  sorted_entries(model.functions)
  sorted_entries(model.modules)
  local classes = all_classes(read)
  local function add_of(entry)
    add_named(model, classes, M.types(entry))
  end
  for _, entry in ipairs(model.functions) do add_of(entry) end
  for _, module in ipairs(model.modules) do
    for _, entry in ipairs(module.entries) do add_of(entry) end
    if module.call then add_of(module.call) end
  end
  for i, class in ipairs(model.classes) do model.classes[i] = public_class(class) end
  sorted_entries(model.classes)
  return model
end

return M
