-- Makes a log of some size out of a sample: the same records again and again, each round a minute later. Always the
-- same bytes. Prints how many records there are.
local dbobs = require "dbobs"

local options = dbobs.arguments { sample = "", to = "", records = 0, megabytes = 300 }

local input = assert(io.open(options.sample, "rb"))
local sample = input:read "*a"
input:close()

-- The pieces between the times to the minute of the records' beginnings: in jsonlog behind a name, else at a line's
-- beginning.
local pieces, from = {}, 1
while true do
  local before = sample:find('"timestamp":"%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:', from)
  local at = before and before + #'"timestamp":"' or sample:find("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:", from)
  if not at then
    at = sample:find("\n%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:", from)
    at = at and at + 1
  end
  if not at then break end
  pieces[#pieces + 1] = sample:sub(from, at - 1)
  from = at + #"2026-03-29 02:30"
end
pieces[#pieces + 1] = sample:sub(from)

local output = assert(io.open(options.to, "wb"))
local rounds = math.ceil(options.megabytes * 1e6 / #sample)
for round = 0, rounds - 1 do
  local day, hour, minute = math.floor(round / 1440) % 28 + 1, math.floor(round / 60) % 24, round % 60
  local time = ("2026-03-%02d %02d:%02d"):format(day, hour, minute)
  assert(output:write(table.concat(pieces, time)))
end
assert(output:close())
print(rounds * options.records)
