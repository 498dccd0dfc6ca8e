--- The reference of dbobs.reference as texts: a definition file for editors (lua-language-server), and Markdown.
local reference = require "dbobs.reference"

local M = {}

-- ---- the definition file ---------------------------------------------------

local function add_comment(out, text)
  for _, line in ipairs(text) do out[#out + 1] = ("---" .. (line == "" and "" or " ") .. line) end
end

local function add_function(out, entry, owner)
  add_comment(out, entry.text)
  for _, one in ipairs(entry.tags) do out[#out + 1] = ("---@%s %s"):format(one.tag, one.text) end
  if reference.is_value(entry) then
    out[#out + 1] = ("%s.%s = nil"):format(owner, entry.name)
  else
    out[#out + 1] = ("function %s%s%s(%s) end"):format(owner, entry.method and ":" or ".", entry.name,
      table.concat(reference.parameters(entry), ", "))
  end
  out[#out + 1] = ""
end

-- "fun(given: table): dbobs.follower|nil" of the function that runs when a module is called.
local function overload(entry)
  local parameters, returns = reference.parts(entry)
  local texts, results = {}, {}
  for i, one in ipairs(parameters) do texts[i] = ("%s: %s"):format(one.name, one.type) end
  for _, one in ipairs(returns) do
    for _, value in ipairs(one.values) do results[#results + 1] = value.type end
  end
  local answer = #results > 0 and ": " .. table.concat(results, ", ") or ""
  return ("fun(%s)%s"):format(table.concat(texts, ", "), answer)
end

local function variable_of(class)
  return (class.name:gsub("%.", "_"))
end

local function add_class(out, class)
  add_comment(out, class.text)
  if class.about ~= "" then add_comment(out, { class.about }) end
  out[#out + 1] = ("---@class %s%s"):format(class.name, class.parent and ": " .. class.parent or "")
  for _, field in ipairs(class.fields) do out[#out + 1] = "---@field " .. field end
  out[#out + 1] = ("local %s = {}"):format(variable_of(class))
  out[#out + 1] = ""
  for _, entry in ipairs(class.entries) do add_function(out, entry, variable_of(class)) end
end

--- The definition file: what an editor needs to complete and check calls; it is never run.
---@param model table of dbobs.reference
---@return string
function M.meta(model)
  local out = {
    "---@meta dbobs",
    "-- What dbobs offers to pipelines, for editors: written by dbobs init from the annotations in dbobs' sources.",
    "",
  }
  for _, class in ipairs(model.classes) do add_class(out, class) end
  for _, module in ipairs(model.modules) do
    add_comment(out, module.text)
    out[#out + 1] = "---@class dbobs.module." .. module.name
    if module.call then out[#out + 1] = "---@overload " .. overload(module.call) end
    out[#out + 1] = ("local %s = {}"):format(module.name)
    out[#out + 1] = ""
    for _, entry in ipairs(module.entries) do add_function(out, entry, module.name) end
  end
  out[#out + 1] = "---@class dbobs"
  for _, module in ipairs(model.modules) do
    out[#out + 1] = ("---@field %s dbobs.module.%s"):format(module.name, module.name)
  end
  out[#out + 1] = "local dbobs = {}"
  out[#out + 1] = ""
  for _, entry in ipairs(model.functions) do add_function(out, entry, "dbobs") end
  out[#out + 1] = "return dbobs"
  return table.concat(out, "\n") .. "\n"
end

-- ---- Markdown --------------------------------------------------------------

-- A comment as Markdown: indented lines are a table of columns, and stay as they are.
local function add_text(out, text)
  local fenced = false
  for _, line in ipairs(text) do
    local indented = line:find "^  " ~= nil
    if indented ~= fenced then
      if indented then out[#out + 1] = "" end
      out[#out + 1] = "```"
      if fenced then out[#out + 1] = "" end
    end
    fenced = indented
    out[#out + 1] = indented and line:sub(3) or line
  end
  if fenced then out[#out + 1] = "```" end
  if #text > 0 then out[#out + 1] = "" end
end

local function joined(kind, about)
  return about == "" and kind or ("%s: %s"):format(kind, about)
end

local function add_parts(out, entry)
  local parameters, returns = reference.parts(entry)
  for _, one in ipairs(parameters) do
    out[#out + 1] = "- " .. joined(("`%s` `%s`"):format(one.name, one.type), one.about)
  end
  for _, one in ipairs(returns) do
    local values = {}
    for i, value in ipairs(one.values) do
      values[i] = ("`%s`%s"):format(value.type, value.name and " " .. value.name or "")
    end
    out[#out + 1] = "- returns " .. joined(table.concat(values, ", "), one.about)
  end
  if #parameters + #returns > 0 then out[#out + 1] = "" end
end

local function add_entry(out, entry, owner, call)
  local what = owner .. (call and "" or (entry.method and ":" or ".") .. entry.name)
  local arguments = reference.is_value(entry) and "" or ("(%s)"):format(table.concat(reference.parameters(entry), ", "))
  out[#out + 1] = ("### `%s%s`"):format(what, arguments)
  out[#out + 1] = ""
  add_text(out, entry.text)
  add_parts(out, entry)
end

--- The reference for people.
---@param model table of dbobs.reference
---@return string
function M.markdown(model)
  local out = {
    "# Lua API", "",
    'What `require "dbobs"` gives. This text is made of the annotations in the sources of dbobs (`make docs`).',
    "`dbobs init` writes it as well, and the same for editors. A duration is a text like `250ms`, `30s`, `5m`, `2h` or",
    "`7d`, or a number of seconds. What can happen returns `nil` and its cause; misuse raises at the caller's line.",
    "", "## dbobs", "",
  }
  for _, entry in ipairs(model.functions) do add_entry(out, entry, "dbobs") end
  for _, module in ipairs(model.modules) do
    out[#out + 1] = "## dbobs." .. module.name
    out[#out + 1] = ""
    add_text(out, module.text)
    if module.call then add_entry(out, module.call, "dbobs." .. module.name, true) end
    for _, entry in ipairs(module.entries) do add_entry(out, entry, "dbobs." .. module.name) end
  end
  out[#out + 1] = "## Objects"
  out[#out + 1] = ""
  for _, class in ipairs(model.classes) do
    out[#out + 1] = "## " .. class.name
    out[#out + 1] = ""
    add_text(out, class.text)
    if class.about ~= "" then add_text(out, { class.about }) end
    for _, field in ipairs(class.fields) do
      local name, rest = field:match "^(%S+)%s*(.*)$"
      local kind, about = reference.split_type(rest)
      out[#out + 1] = "- " .. joined(("`%s` `%s`"):format(name, kind), about)
    end
    if #class.fields > 0 then out[#out + 1] = "" end
    for _, entry in ipairs(class.entries) do add_entry(out, entry, class.variable or class.name) end
  end
  return (table.concat(out, "\n"):gsub("\n+$", "")) .. "\n"
end

return M
