--- Which targets of a list that is read again are taken up. A look at the list says what is new, changed or gone: what
--- is gone is dropped, what is new is taken up, what changed is both. A target's identity is its name.
local log = require "dbobs.log"
local task = require "dbobs.task"
local timer = require "dbobs.timer"

local M = {}

-- More changes than this are told as a number.
local TOLD_ONE_BY_ONE = 10

---@class dbobs.roster
---@field source dbobs.source
---@field members table<string, table> what is taken up, by name: {name, given, target, origin, ...}
local roster = {}
roster.__index = roster

--- The targets of a source.
---@param source dbobs.source
---@param keeper {take: function, drop: function, holder: function} take(member) takes it up: true, or nil and the
---   cause; drop(members) lets them go, waiting for it; holder(name, roster) tells where a target of this name comes
---   from that is not the roster's
---@return dbobs.roster
function M.new(source, keeper)
  return setmetatable({ source = source, keeper = keeper, members = {}, told = {} }, roster)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for name, value in pairs(a) do
    if not same(value, b[name]) then return false end
  end
  for name in pairs(b) do
    if a[name] == nil then return false end
  end
  return true
end

-- What is to be told of this look, by a key that stays the same while the problem lasts.
local function add_problem(problems, key, message, fields)
  problems[#problems + 1] = { key = key, message = message, fields = fields }
end

local function list_problem(self, cause)
  return { key = "list", message = "the list of targets cannot be read; the targets from before stay",
    fields = { source = self.source.title, error = cause } }
end

-- Of two with one name the one that is taken up stays, else the first.
local function choose(self, parts, problems)
  local chosen, order = {}, {}
  local function conflict(member, origin)
    add_problem(problems, "name/" .. member.name .. "/" .. member.origin,
      "two targets have one name: the first stays; give each a 'name' of its own",
      { name = member.name, source = member.origin, first = origin })
  end
  for _, part in ipairs(parts) do
    for _, member in ipairs(part.members) do
      local name = member.name
      local holder, rival, running = self.keeper.holder(name, self), chosen[name], self.members[name]
      if holder then
        conflict(member, holder)
      elseif not rival then
        chosen[name] = member
        order[#order + 1] = name
      elseif running and running.origin == member.origin and rival.origin ~= member.origin then
        chosen[name] = member
        conflict(rival, member.origin)
      else
        conflict(member, rival.origin)
      end
    end
  end
  return chosen, order
end

-- Which of those that are taken up must go, and which of the chosen must come.
local function compare(self, chosen, order)
  local leaving, coming = {}, {}
  for name, member in pairs(self.members) do
    local wanted = chosen[name]
    if wanted and same(wanted.given, member.given) then
      member.origin = wanted.origin
    else
      member.changed = wanted ~= nil
      leaving[#leaving + 1] = member
    end
  end
  for _, name in ipairs(order) do
    local member = self.members[name]
    if not member or member.changed then coming[#coming + 1] = chosen[name] end
  end
  return leaving, coming
end

local function tell_changes(self, what, members)
  if not self.looked or #members > TOLD_ONE_BY_ONE then
    if #members > 0 then log.info("targets " .. what, { source = self.source.title, targets = #members }) end
    return
  end
  for _, member in ipairs(members) do
    log.info("target " .. what, { target = member.name, source = member.origin })
  end
end

local function exchange(self, leaving, coming, problems)
  for _, member in ipairs(leaving) do self.members[member.name] = nil end
  if #leaving > 0 then self.keeper.drop(leaving) end
  local taken, kinds = {}, { dropped = {}, changed = {}, ["taken up"] = {} }
  local before = {}
  for _, member in ipairs(leaving) do
    before[member.name] = true
    if not member.changed then table.insert(kinds.dropped, member) end
  end
  for _, member in ipairs(coming) do
    local ok, cause = self.keeper.take(member)
    if ok then
      self.members[member.name] = member
      taken[#taken + 1] = member
      table.insert(kinds[before[member.name] and "changed" or "taken up"], member)
    else
      add_problem(problems, "take/" .. member.name, "the target cannot be taken up",
        { name = member.name, source = member.origin, error = cause })
    end
  end
  for what, members in pairs(kinds) do tell_changes(self, what, members) end
  return taken
end

--- Reads the list and follows it.
---@return table[] problems each {key, message, fields}
---@return table[] taken the members that were taken up
function roster:look()
  local problems = {}
  local parts, cause = self.source:look()
  if not parts then
    return { list_problem(self, cause) }, {}
  end
  for _, part in ipairs(parts) do
    if part.problem then
      add_problem(problems, "part/" .. part.origin, "targets with an error; those from before stay",
        { source = part.origin, error = part.problem })
    end
  end
  local chosen, order = choose(self, parts, problems)
  local leaving, coming = compare(self, chosen, order)
  local taken = exchange(self, leaving, coming, problems)
  self.looked = true
  return problems, taken
end

--- Tells the problems of a look as lasting conditions, and which of those before are over.
---@param problems table[]
function roster:tell(problems)
  local told = {}
  for _, problem in ipairs(problems) do
    local key = ("targets/%s/%s"):format(self.source.title, problem.key)
    local text = problem.fields.error or ""
    if self.told[key] and self.told[key] ~= text then log.condition(key, false, "error", problem.message) end
    log.condition(key, true, "error", problem.message, problem.fields)
    told[key] = text
  end
  for key in pairs(self.told) do
    if not told[key] then log.condition(key, false, "error", "") end
  end
  self.told = told
end

-- A look that cannot fail: an error in what it calls is a problem of the list.
function roster:safe_look()
  local ok, problems, taken = pcall(self.look, self)
  if ok then return problems, taken end
  if problems == task.CANCELLED then error(problems, 0) end
  return { list_problem(self, tostring(problems)) }, {}
end

--- Looks for ever, in the current task; at once, when there has been no look yet.
---@param taken_up fun(members: table[]) called with what a look has taken up
function roster:watch(taken_up)
  if self.looked then timer.sleep(self.source.every) end
  while true do
    local problems, taken = self:safe_look()
    self:tell(problems)
    taken_up(taken)
    timer.sleep(self.source.every)
  end
end

return M
