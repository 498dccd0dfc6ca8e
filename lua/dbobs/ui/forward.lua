--- The records of a topic from an offset or a time on, over all its partitions, page by page. Within a page they are in
--- the order of time; a page holds what came first, so that none waits for a slow partition.
local window = require "dbobs.ui.window"

local M = {}

local PAGE_BYTES = 256 * 2 ^ 20

-- The first rows in the order of time; those that are left over are read again for the next page.
local function take_first(list, limit)
  local found = {}
  while #found < limit do
    local first
    for _, range in ipairs(list) do
      local row = range.rows[range.taken + 1]
      if row and (not first or row.time < first.rows[first.taken + 1].time) then first = range end
    end
    if not first then break end
    first.taken = first.taken + 1
    found[#found + 1] = first.rows[first.taken]
  end
  return found
end

local function next_token(list)
  local after, more = {}, false
  for _, range in ipairs(list) do
    local left_over = range.rows[range.taken + 1]
    local next_offset = left_over and left_over.offset or (range.ended and not range.full and range.to)
      or (range.last and range.last + 1) or range.from
    after[range.partition] = next_offset
    more = more or next_offset < range.to
  end
  return after, more
end

--- Reads the next page.
---@param search {properties: table, topic: string, bounds: table<integer, {low: integer, high: integer}>,
---  after: table<integer, integer>, limit: integer, until_time: number, match: (fun(message: table): boolean),
---  row: fun(message: table): table}
---@return {rows: table[], after: table<integer, integer>, more: boolean, looked_at: integer, bytes: integer,
---  problem: string|nil}|nil page
---  after: where the next page begins; more: whether there is one now; problem: why some partition is missing
---@return string|nil error
function M.page(search)
  local list, ranges, looked_at = {}, {}, 0
  for partition, bound in pairs(search.bounds) do
    local from = math.max(bound.low, math.min(search.after[partition] or bound.low, bound.high))
    local range = { partition = partition, from = from, to = bound.high, rows = {}, taken = 0 }
    list[#list + 1], ranges[partition] = range, range
  end
  local open = {}
  for _, range in ipairs(list) do
    if range.from < range.to then open[#open + 1] = range else range.ended = true end
  end
  local budget = { until_time = search.until_time, bytes = PAGE_BYTES }
  local ok, cause = window.read(search.properties, search.topic, open, budget, function(message)
    local range = ranges[message.partition]
    looked_at = looked_at + 1
    if not search.match(message) then return end
    range.rows[#range.rows + 1] = search.row(message)
    range.full = #range.rows >= search.limit
    return not range.full
  end)
  if not ok then return nil, cause end
  local found = take_first(list, search.limit)
  local after, more = next_token(list)
  return { rows = found, after = after, more = more, looked_at = looked_at, bytes = PAGE_BYTES - budget.bytes,
    problem = cause }
end

return M
