--- Values as text for people: tables with their contents, rows of a query as a table; never a password.
local M = {}

-- So deep, and so many entries of one table, are shown.
local DEEPEST, MOST = 4, 50
-- Tables that are no longer than this stand on one line.
local LINE = 76

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

--- A text without the passwords that stand in it in one of the ways in which they do: password=..., "password": "...",
--- PASSWORD '...', user:password@host in a URI.
---@param text string
---@return string
function M.hide(text)
  if not text:lower():find("pass", 1, true) and not text:find("://", 1, true) then return text end
  local function named(before, name, between, value)
    if not name:lower():find "passw" or name:lower():find "^password_command" then return nil end
    return before .. name .. between .. (value:sub(1, 1):match "['\"]" and value:sub(1, 1) .. "***" .. value:sub(1, 1)
      or "***")
  end
  text = text:gsub("(%a[%w+.-]*://[^%s/@:]*):[^%s/@]*@", "%1:***@")
  text = text:gsub("()([%a_]+)([\"'%]]?%s*[=:]?%s*)('[^']*')", function(_, ...) return named("", ...) end)
  text = text:gsub("()([%a_]+)([\"'%]]?%s*[=:]?%s*)(\"[^\"]*\")", function(_, ...) return named("", ...) end)
  text = text:gsub("()([%a_]+)(%s*=%s*)([^%s'\"&]+)", function(_, ...) return named("", ...) end)
  return text
end

local function is_secret(name)
  return type(name) == "string" and name:lower():find "password" ~= nil and name ~= "password_command"
    and name ~= "password_encryption"
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

local function quote(text)
  return '"' .. M.hide(text):gsub('[%c"\\]', function(c) return ESCAPES[c] or ("\\%d"):format(c:byte()) end) .. '"'
end

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then return key end
  return type(key) == "string" and "[" .. quote(key) .. "]" or "[" .. tostring(key) .. "]"
end

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do
    local in_array = type(key) == "number" and key % 1 == 0 and key >= 1 and key <= #value
    if not in_array then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) ~= type(b) and type(a) < type(b) or (type(a) == type(b) and tostring(a) < tostring(b))
  end)
  return keys
end

local show

local function items_of(value, depth, seen)
  local items = {}
  for i = 1, math.min(#value, MOST) do items[i] = show(value[i], depth + 1, seen) end
  if #value > MOST then items[#items + 1] = ("... %d more"):format(#value - MOST) end
  local keys = sorted_keys(value)
  for i = 1, math.min(#keys, MOST) do
    local key = keys[i]
    local text = is_secret(key) and type(value[key]) == "string" and '"***"' or show(value[key], depth + 1, seen)
    items[#items + 1] = key_text(key) .. " = " .. text
  end
  if #keys > MOST then items[#items + 1] = ("... %d more"):format(#keys - MOST) end
  return items
end

local function show_table(value, depth, seen)
  local meta = getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__tostring") then return tostring(value) end
  if seen[value] then return "{...}" end
  if depth >= DEEPEST then return next(value) == nil and "{}" or "{...}" end
  seen[value] = true
  local items = items_of(value, depth, seen)
  seen[value] = nil
  if #items == 0 then return "{}" end
  local line = "{ " .. table.concat(items, ", ") .. " }"
  if #line + depth * 2 <= LINE and not line:find("\n", 1, true) then return line end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(items, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

function show(value, depth, seen)
  if type(value) == "string" then return quote(value) end
  if type(value) == "table" then return show_table(value, depth, seen) end
  return tostring(value)
end

--- A value as text.
---@param value any
---@return string text on several lines where it needs them
function M.text(value)
  return show(value, 0, {})
end

--- Whether a value is what a query returned.
---@param value any
---@return boolean
function M.is_result(value)
  return type(value) == "table" and getmetatable(value) == nil and type(rawget(value, "columns")) == "table"
    and #value.columns > 0
end

-- Rows of a result that are shown.
local ROWS = 200

--- Prints what a query returned.
---@param out dbobs.terminal
---@param result table
function M.print_result(out, result)
  local columns, rows = {}, {}
  for i, name in ipairs(result.columns) do columns[i] = { title = name, least = 8 } end
  for i = 1, math.min(#result, ROWS) do
    rows[i] = {}
    for j, name in ipairs(result.columns) do
      local value = result[i][name]
      local text = is_secret(name) and value ~= nil and "***" or value == nil and "" or M.hide(tostring(value))
      rows[i][j] = text:gsub("%c", " ")
    end
  end
  out:table(columns, rows)
  local more = #result > ROWS and (", the first %d are shown"):format(ROWS) or ""
  out:write(("(%d rows%s)\n"):format(#result, more))
end

return M
