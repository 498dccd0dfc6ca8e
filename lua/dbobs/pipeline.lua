--- Pipelines: finding the file, `require` beside it, its name=value options, and running it.
local options = require "dbobs.options"
local sys = require "dbobs.core.sys"

local M = {}

local given_arguments = {}

-- What a workload file can be told to do; the first word behind its name.
local COMMANDS = { prepare = true, run = true, cleanup = true }

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The path as it is named in the binary: "pipelines/..." whatever stands before it.
local function embedded_path(path)
  return (path:gsub("^%./", ""):gsub("^.*/pipelines/", "pipelines/"))
end

-- The file as it is on disk, or as it is in the binary.
local function read(path)
  if exists(path) then
    local file, cause = io.open(path, "rb")
    local source = file and file:read "*a"
    if file then file:close() end
    if not source then return nil, ("cannot read the pipeline %s: %s"):format(path, cause or "it is a directory") end
    return source, path, false
  end
  local name = embedded_path(path)
  local source = sys.embedded(name)
  if source then return source, "dbobs:" .. name, true end
  local known = sys.embedded_list "pipelines/"
  local hint = options.hint(name, known)
  return nil, ("no pipeline %s, neither as a file nor in the binary%s"):format(path, hint)
end

-- As Lua's own require, but in Lua: so that a file that is required may wait, for a query about its targets perhaps.
local function require_waiting(name)
  if package.loaded[name] ~= nil then return package.loaded[name] end
  local tried = {}
  for _, loader in ipairs(package.loaders) do
    local chunk = loader(name)
    if type(chunk) == "function" then
      local value = chunk(name)
      if value == nil then value = package.loaded[name] end
      if value == nil then value = true end
      package.loaded[name] = value
      return value
    end
    tried[#tried + 1] = type(chunk) == "string" and chunk or ""
  end
  error(("module '%s' not found:%s"):format(name, table.concat(tried)), 2)
end

--- Makes `require` look in a directory before it looks in the binary.
---@param directory string
function M.look_in(directory)
  table.insert(package.loaders, 2, function(name)
    local base = directory .. "/" .. name:gsub("%.", "/")
    for _, path in ipairs { base .. ".lua", base .. "/init.lua" } do
      if exists(path) then
        local chunk, cause = loadfile(path)
        if not chunk then error(cause, 0) end
        return function(...)
          local value = chunk(...)
          if value ~= nil or package.loaded[name] ~= nil then return value end
          return error(path .. ": the file returns nothing; it must end with 'return' and its table", 0)
        end
      end
    end
    return ("\n\tno file '%s.lua'"):format(base)
  end)
  _G.require = require_waiting
end

--- Reads and compiles a pipeline, and lets `require` look beside it.
---@param path string
---@return {chunk: function, embedded: boolean}|nil pipeline
---@return string|nil problem with file and line
function M.load(path)
  local source, name, embedded = read(path)
  if not source then return nil, name end
  M.look_in(path:match "^(.*)/[^/]*$" or ".")
  local chunk, cause = loadstring(source, "@" .. name)
  if not chunk then return nil, "the pipeline has a syntax error: " .. cause end
  return { chunk = chunk, embedded = embedded }
end

--- Sets the name=value options of the command line.
---@param texts string[]
---@return boolean|nil ok, string|nil problem
function M.set_arguments(texts)
  given_arguments, M.command = {}, nil
  for i, text in ipairs(texts) do
    local name, value = text:match "^([%a_][%w_%-]*)=(.*)$"
    if i == 1 and COMMANDS[text] then M.command = text
    elseif not name then return nil, ("'%s' is no option of a pipeline: write name=value"):format(text) end
    if name then given_arguments[name] = value end
  end
  return true
end

local function convert(name, text, default)
  if type(default) == "string" then return text end
  if type(default) == "number" then
    return tonumber(text) or error(("option %s: a number expected, got '%s'"):format(name, text), 3)
  end
  if text == "true" or text == "yes" or text == "1" then return true end
  if text == "false" or text == "no" or text == "0" then return false end
  return error(("option %s: true or false expected, got '%s'"):format(name, text), 3)
end

--- The options of the command line over their defaults; raises at the caller for an unknown name or a wrong type.
---@param defaults table<string, string|number|boolean>
function M.arguments(defaults)
  local names, result = {}, {}
  for name, default in pairs(defaults) do
    names[#names + 1], result[name] = name, default
  end
  for name, text in pairs(given_arguments) do
    if defaults[name] == nil then
      error(("unknown option %s=%s%s"):format(name, text, options.hint(name, names)), 2)
    end
    result[name] = convert(name, text, defaults[name])
  end
  M.arguments_taken = true
  return result
end

--- The name=value options as they were given, for who checks them itself.
---@return table<string, string>
function M.given()
  M.arguments_taken = true
  return given_arguments
end

--- Options that were given although the pipeline asked for none.
---@return string|nil problem
function M.unused_arguments()
  local name, value = next(given_arguments)
  if M.command then return ("'%s' is for load tests, and this pipeline is none"):format(M.command) end
  if name and not M.arguments_taken then
    return ("the pipeline takes no options, but %s=%s was given"):format(name, value)
  end
end

return M
