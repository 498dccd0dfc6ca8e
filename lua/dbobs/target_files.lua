--- Files of targets: *.lua files that return a target or a list of them, and *.json files that hold one.
local cjson = require "cjson"
local lfs = require "lfs"
local task = require "dbobs.task"

local M = {}

--- The files of a directory that hold targets, sorted. Hidden files are left out: editors keep theirs so.
---@param directory string
---@return string[]|nil paths, string|nil problem
function M.list(directory)
  local ok, iterate, state = pcall(lfs.dir, directory)
  if not ok then
    return nil, "cannot read the directory: " .. tostring(iterate):gsub("^cannot open .-: ", "")
  end
  local paths = {}
  for name in iterate, state do
    if name:find "^[^%.].*%.lua$" or name:find "^[^%.].*%.json$" then
      paths[#paths + 1] = (directory:gsub("/$", "")) .. "/" .. name
    end
  end
  table.sort(paths)
  return paths
end

--- A file's text; nil alone when it is gone.
---@return string|nil text, string|nil problem
function M.read(path)
  local file, cause, code = io.open(path, "rb")
  local text
  if file then
    text, cause, code = file:read "*a"
    file:close()
  end
  if text or code == 2 then return text end
  return nil, "cannot read " .. (cause:find(path, 1, true) and cause or ("%s: %s"):format(path, cause))
end

local function line_of(text, position)
  local _, newlines = text:sub(1, position - 1):gsub("\n", "")
  return newlines + 1
end

-- JSON's null is an option that is not given.
local function without_nulls(value)
  if type(value) ~= "table" then return value end
  for name, inner in pairs(value) do
    if inner == cjson.null then value[name] = nil else without_nulls(inner) end
  end
  return value
end

local function json(path, text)
  local ok, value = pcall(cjson.decode, text)
  if ok then return without_nulls(value) end
  local problem, position = tostring(value):match "^(.-) at character (%d+)"
  if not position then return nil, ("%s: %s"):format(path, value) end
  return nil, ("%s:%d: this is no JSON: %s"):format(path, line_of(text, tonumber(position)), problem)
end

-- The compiler quotes what stands where it stumbles, which may be a password.
local function lua(path, text)
  local chunk, problem = loadstring(text, "@" .. path)
  if not chunk then return nil, (problem:gsub(" near '.*$", "")) end
  local ok, value, cause = pcall(chunk)
  if ok and value ~= nil then return value end
  if ok then
    return nil, cause and tostring(cause) or "the file returns nothing; it must end with 'return' and its targets"
  end
  if value == task.CANCELLED or value == task.DEADLINE then error(value, 0) end
  return nil, tostring(value)
end

--- What a file holds.
---@param path string
---@param text string
---@return any|nil value, string|nil problem with the line where it can be told
function M.evaluate(path, text)
  return (path:find "%.json$" and json or lua)(path, text)
end

--- A problem with its file, and its line where that can be told: that of the option which it is about, where the file
--- names it only once, else the entry's number.
---@param path string
---@param problem string
---@param text string|nil
---@param entry integer|nil
---@return string
function M.locate(path, problem, text, entry)
  if problem:sub(1, #path) == path then return problem end
  local option = text and problem:match "option '([%w_]+)'"
  if option then
    local word = "%f[%w_]" .. option .. "%f[^%w_]"
    local first, last = text:find(word)
    if first and not text:find(word, last + 1) then
      return ("%s:%d: %s"):format(path, line_of(text, first), problem)
    end
  end
  if entry then return ("%s: entry %d: %s"):format(path, entry, problem) end
  return ("%s: %s"):format(path, problem)
end

return M
