--- Lists of targets that are read again while dbobs runs: from a directory of files, a query or a function.
---   return dbobs.targets { directory = "/etc/dbobs/targets.d" }
---   return dbobs.targets { query = "select name, host, port from servers", on = { host = "inventory" } }
---   return dbobs.targets { list = function() return { { host = "db1" }, { host = "db2" } } end }
--- What became of a list since it was last read is seen to by dbobs.roster.
local files = require "dbobs.target_files"
local options = require "dbobs.options"
local target_module = require "dbobs.target"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

local OPTIONS = {
  directory = "string", query = "string", on = "table|string", list = "function", every = "duration",
  defaults = "table",
}
local KINDS = { "directory", "query", "list" }
local EVERY = { directory = 10, query = 60, list = 60 }

-- What a list does not answer within this time counts as failed.
local READ_SECONDS = 60
-- After so many files others have their turn.
local FILES_AT_ONCE = 50

---@class dbobs.source a list of targets that is read again
---@field title string for messages, like "directory /etc/dbobs/targets.d"
---@field every number seconds between two looks
local source = {}
source.__index = source

--- Whether a value is a list of targets that is read again.
function M.is_source(value)
  return getmetatable(value) == source
end

-- One target or a list of them, as a list.
local function as_list(value)
  if type(value) ~= "table" then
    return nil, ("a target or a list of targets expected, got %s"):format(type(value))
  end
  if #value > 0 or next(value) == nil then return value end
  return { value }
end

-- The entries as targets: {name, given, target, origin}. The first that is wrong fails them all.
local function members_of(entries, defaults, origin)
  local members = {}
  for i, entry in ipairs(entries) do
    local given = entry
    if type(entry) == "table" then
      given = {}
      for name, value in pairs(defaults) do given[name] = value end
      for name, value in pairs(entry) do given[name] = value end
    end
    local target, problem = target_module.new(given)
    if not target then return nil, problem, i end
    members[i] = { name = target.name, given = given, target = target, origin = origin }
  end
  return members
end

-- A part of the list that stands or falls together, under a key that stays the same from look to look: a file, or a
-- row. One with a problem keeps its targets from before.
local function part_of(self, key, origin, entries, problem)
  local before = self.parts[key]
  local members, wrong
  if entries then members, problem, wrong = members_of(entries, self.defaults, origin) end
  return { origin = origin, problem = problem, wrong = wrong, members = members or before and before.members or {} }
end

local readers = {}

-- One file's part; nil when the file has gone meanwhile. A file that has not changed is not evaluated again.
local function file_part(self, path)
  local text, problem = files.read(path)
  if not text and not problem then return nil end
  local before = self.parts[path]
  if before and before.text == text and not before.problem then return before end
  local entries
  if text then entries, problem = files.evaluate(path, text) end
  if entries then entries, problem = as_list(entries) end
  local part = part_of(self, path, path, entries, problem)
  if part.problem then part.problem = files.locate(path, part.problem, text, part.wrong) end
  part.text = text
  return part
end

function readers.directory(self)
  local paths, cause = files.list(self.directory)
  if not paths then return nil, cause end
  local parts = {}
  for i, path in ipairs(paths) do
    local part = file_part(self, path)
    parts[#parts + 1], parts[path] = part, part
    if i % FILES_AT_ONCE == 0 then task.wait(nil, 0) end
  end
  return parts
end

-- What an entry goes by, as long as it may still be wrong.
local function key_of(entry, index)
  if type(entry) ~= "table" then return "entry " .. index end
  if entry.name then return tostring(entry.name) end
  return ("%s:%s"):format(tostring(entry.host or entry.service or index), tostring(entry.port or ""))
end

local function parts_of_entries(self, entries)
  local parts = {}
  for i, entry in ipairs(entries) do
    local key = key_of(entry, i)
    while parts[key] do key = key .. " again" end
    local part = part_of(self, key, ("%s, entry %d"):format(self.title, i), { entry })
    parts[i], parts[key] = part, part
  end
  return parts
end

function readers.list(self)
  local ok, value, cause = pcall(self.list)
  if not ok then
    if value == task.CANCELLED or value == task.DEADLINE then error(value, 0) end
    return nil, tostring(value)
  end
  if value == nil then return nil, cause and tostring(cause) or "it returned nothing" end
  local entries
  entries, cause = as_list(value)
  if not entries then return nil, cause end
  return parts_of_entries(self, entries)
end

function readers.query(self)
  local entries, cause = require("dbobs.target_query").ask(self.query, self.on)
  if not entries then return nil, cause end
  return parts_of_entries(self, entries)
end

--- Reads the list. A part with an error keeps the targets that it had before, and says so.
---@return {members: table[], problem: string|nil, origin: string}[]|nil parts
---@return string|nil cause when there is no list: everything stays as it was
function source:look()
  local parts, cause = task.deadline(READ_SECONDS, readers[self.kind], self)
  if not parts then return nil, cause end
  self.parts = {}
  for key, part in pairs(parts) do
    if type(key) == "string" then self.parts[key] = part end
  end
  return parts
end

local function title_of(given, kind)
  if kind == "directory" then return "directory " .. given.directory end
  if kind == "list" then
    local about = debug.getinfo(given.list, "S")
    return ("function at %s:%d"):format(about.short_src, about.linedefined)
  end
  return require("dbobs.target_query").title(given.on)
end

--- A list of targets that is read again every so often. Use it as the list of dbobs.each.
---@param given {directory: string|nil, query: string|nil, on: table|string|nil, list: function|nil,
---   every: string|number|nil, defaults: table|nil} exactly one of: directory, with a *.lua or *.json file for each
---   target or several; query, whose columns are parameters of a target, with `on`, the connection it is asked on;
---   list, a function that returns targets. every: how long between two looks, "10s" for a directory, else "1m".
---   defaults: parameters of all targets that do not say otherwise
---@return dbobs.source
function M.new(given)
  options.check(given, OPTIONS, "dbobs.targets", 2)
  local kind
  for _, name in ipairs(KINDS) do
    if given[name] and kind then
      error(("dbobs.targets: option '%s' or '%s', not both: make a list of each"):format(kind, name), 2)
    end
    kind = given[name] and name or kind
  end
  if not kind then error("dbobs.targets: one of the options directory, query or list is missing", 2) end
  if (kind == "query") ~= (given.on ~= nil) then
    error("dbobs.targets: options 'query' and 'on' belong together: on = { host = ..., user = ... } is the connection "
      .. "that the query is asked on", 2)
  end
  local every = timer.duration(given.every or EVERY[kind], 2)
  if every <= 0 then error("dbobs.targets: option 'every' must be longer than 0", 2) end
  local self = { kind = kind, parts = {}, defaults = given.defaults or {}, every = every }
  for _, name in ipairs { "directory", "query", "on", "list" } do self[name] = given[name] end
  self.title = title_of(given, kind)
  return setmetatable(self, source)
end

return M
