--- What callers of a PostgreSQL connection get wrong, told at their line before anything is sent. `level` is that of
--- error, counted from the function that calls the check.
local options = require "dbobs.options"

local M = {}

local STREAM = { rows = "number", binary = "boolean" }
local PIPELINE = { rows = "number", each = "function" }

local function check_options(given, known, what, level)
  options.check(given, known, what, level + 2)
  local rows = given.rows
  if rows and (rows < 1 or rows > 2 ^ 30 or rows % 1 ~= 0) then
    error(("%s: option 'rows' must be a whole number from 1, got %g"):format(what, rows), level + 2)
  end
end

--- Arguments of connection:stream.
function M.stream(arguments, given, level)
  if type(arguments) ~= "table" then
    error(("postgres.stream: the statement's arguments must be a table, like { 1, 'x' }, got %s")
      :format(type(arguments)), level + 1)
  end
  check_options(given, STREAM, "postgres.stream", level)
end

--- Arguments of connection:pipeline.
function M.pipeline(statements, given, level)
  if type(statements) ~= "table" then
    error(("postgres.pipeline: a list of statements expected, like { { 'select $1', 5 } }, got %s")
      :format(type(statements)), level + 1)
  end
  for i, statement in ipairs(statements) do
    local kind = type(statement)
    if kind ~= "table" or type(statement.execute or statement[1]) ~= "string" then
      error(("postgres.pipeline: statement %d must be a table like { 'select $1', 5 } or { execute = 'name', 5 }, "
        .. "got %s"):format(i, kind == "table" and "one without a text" or kind), level + 1)
    end
  end
  check_options(given, PIPELINE, "postgres.pipeline", level)
end

--- Makes the methods of a class refuse what is none of its objects: a dot was written instead of a colon.
---@param class table the objects' metatable, complete
---@param name string what an object is called in messages
function M.methods(class, name)
  for verb, method in pairs(class) do
    if type(method) == "function" then
      class[verb] = function(self, ...)
        if getmetatable(self) ~= class then
          error(("postgres.%s: use %s:%s(...), with a colon"):format(verb, name, verb), 2)
        end
        return method(self, ...)
      end
    end
  end
end

return M
