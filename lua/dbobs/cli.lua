--- The command line: finds the command, parses its options, runs it, ends the process with its exit code:
--- 0 done, 1 failed, 2 wrong usage. Called by the runtime as the main task.
local commands = require "dbobs.commands"
local log = require "dbobs.log"
local options = require "dbobs.options"
local start = require "dbobs.start"
local sys = require "dbobs.core.sys"
local task = require "dbobs.task"

-- Options that every command takes.
local COMMON = {
  ["--help"] = "boolean",
  ["--log-format"] = { one = log.formats },
  ["--log-level"] = { one = log.levels },
}

local function usage_error(message)
  sys.log(("dbobs: %s\nTry 'dbobs help'.\n"):format(message))
  return 2
end

-- Converts one option's text to the type it is declared with. Returns nil and what was expected when it is none.
local function convert(text, kind)
  if type(kind) == "table" then
    for _, allowed in ipairs(kind.one) do
      if text == allowed then return text end
    end
    return nil, "one of " .. table.concat(kind.one, ", ")
  end
  if kind == "number" then return tonumber(text), "a number" end
  if kind == "duration" then return sys.parse_duration(text), 'a duration like "30s"' end
  return text
end

local function find_option(known, name)
  local kind = known[name] or COMMON[name]
  if kind then return kind end
  local names = {}
  for option in pairs(known) do names[#names + 1] = option end
  for option in pairs(COMMON) do names[#names + 1] = option end
  return nil, ("unknown option %s%s"):format(name, options.hint(name, names))
end

-- Splits the words behind the command into positional arguments and options.
local function parse(words, known)
  local arguments, given = {}, {}
  local i = 1
  while i <= #words do
    local word = words[i]
    local name, value = word:match "^(%-%-[^=]+)=(.*)$"
    if word == "-h" then name = "--help" end
    name = name or word:match "^%-.+$"
    if word == "--" then
      for j = i + 1, #words do arguments[#arguments + 1] = words[j] end
      break
    elseif name then
      local kind, problem = find_option(known, name)
      if not kind then return nil, problem end
      if kind == "boolean" then
        if value then return nil, ("option %s takes no value"):format(name) end
        value = true
      else
        if not value then
          i = i + 1
          value = words[i]
        end
        if not value then return nil, ("option %s needs a value"):format(name) end
        local converted, expected = convert(value, kind)
        if converted == nil then return nil, ("option %s: %s expected, got '%s'"):format(name, expected, value) end
        value = converted
      end
      given[name:sub(3):gsub("%-", "_")] = value
    else
      arguments[#arguments + 1] = word
    end
    i = i + 1
  end
  return arguments, given
end

local function dispatch(words)
  local name = table.remove(words, 1) or "help"
  if name == "--help" or name == "-h" then name = "help" end
  if name == "--version" then name = "version" end
  local known = false
  for _, command in ipairs(commands) do known = known or command == name end
  if not known then return usage_error(("unknown command '%s'%s"):format(name, options.hint(name, commands))) end

  local command = require("dbobs.cli." .. name)
  local arguments, given
  if command.passes_on and words[1] ~= "--help" then
    arguments, given = words, {}
  else
    arguments, given = parse(words, command.options or {})
  end
  if not arguments then return usage_error(name .. ": " .. given) end
  log.configure { format = given.log_format, level = given.log_level }
  if given.help and not (command.help and command.help(arguments)) then
    require("dbobs.terminal").output():help(command.usage)
  end
  if given.help then return 0 end
  local code, problem = command.run(arguments, given)
  if code == nil then return usage_error(name .. ": " .. tostring(problem)) end
  return code
end

return function(arguments)
  start.state()
  local words = { unpack(arguments) }
  local ok, result = xpcall(dispatch, function(cause)
    if cause == task.CANCELLED or cause == task.DEADLINE then return cause end
    return debug.traceback(tostring(cause), 2)
  end, words)
  if not ok then
    log.error("dbobs failed; this is a fault in dbobs itself", { traceback = result })
    result = 1
  end
  sys.finish(result)
end
