--- What the writer writes: numbered records as a server writes them, in each of its formats. A record's message tells
--- its number and how long its body is, so that a torn or a mixed-up one is seen.
local M = {}

M.prefix = "%m [%p] %c/%l "

local TIME, SESSION = "2026-01-31 12:00:00.000 UTC", "697de0c0.2a"

-- The lengths of bodies: mostly some hundred bytes, at times a plan or a statement of many lines.
local function body(number)
  local length = number % 1009 == 0 and 90000 or number % 53 == 0 and 3000 or 40 + number * 7919 % 300
  return ("n=%d len=%d %s end"):format(number, length, ("x"):rep(length))
end

local function json(text)
  return '"' .. text:gsub("\n", "\\n"):gsub("\t", "\\t") .. '"'
end

local function csv(text)
  return '"' .. text:gsub('"', '""') .. '"'
end

M.formats = {
  jsonlog = {
    suffix = "json",
    record = function(number)
      return ('{"timestamp":"%s","user":"u","dbname":"d","pid":42,"session_id":"%s","line_num":%d,'
        .. '"error_severity":"LOG","message":%s,"backend_type":"client backend","query_id":0}\n'):format(TIME, SESSION,
        number, json(body(number) .. "\nsecond line"))
    end,
  },
  csvlog = {
    suffix = "csv",
    record = function(number)
      return ('%s,"u","d",42,"127.0.0.1:5000",%s,%d,"SELECT",2026-01-31 12:00:00 UTC,1/1,0,LOG,00000,%s,,,,,,%s,,,'
        .. '"app","client backend",,0\n'):format(TIME, SESSION, number, csv(body(number) .. '\nsecond "line"'),
        csv('select 1,\n"a"'))
    end,
  },
  stderr = {
    suffix = "log",
    -- There DETAIL has a number of its own.
    record = function(number)
      local prefix = ("%s [42] %s/%%d "):format(TIME, SESSION)
      return (prefix .. "LOG:  %s\n\tsecond line\n" .. prefix .. "DETAIL:  of that\n"):format(number * 2, body(number),
        number * 2 + 1)
    end,
  },
}

--- The number that a message tells; nil when it is not whole.
---@param message string
---@return integer|nil
function M.number(message)
  local number, length, text = message:match "^n=(%d+) len=(%d+) (x+) end\nsecond"
  if not number or #text ~= tonumber(length) then return nil end
  return tonumber(number)
end

return M
