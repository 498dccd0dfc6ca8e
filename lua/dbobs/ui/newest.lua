--- The newest records of a topic, over all its partitions in the order of time, and from there back, page by page.
--- A partition is read in windows from its end: what is older than the newest place up to which some partition was read
--- is not yet known to be next, and stays for the next page.
local sys = require "dbobs.core.sys"
local window = require "dbobs.ui.window"

local M = {}

-- Records of a partition that are read at first, and at most at once.
local FIRST_WINDOW, LARGEST_WINDOW = 16, 8000
-- Bytes that one window, and one page, may read.
local WINDOW_BYTES, PAGE_BYTES = 32 * 2 ^ 20, 256 * 2 ^ 20

---@class dbobs.ui.lane a partition on the way back
---@field partition integer
---@field low integer where it begins
---@field scanned integer from here on everything was looked at
---@field frontier number the time of the oldest record that was looked at
---@field rows table[] what fits and was not handed over yet, newest last

local function lanes_of(bounds, before)
  local lanes = {}
  for partition, bound in pairs(bounds) do
    local high = math.max(bound.low, math.min(before[partition] or bound.high, bound.high))
    lanes[#lanes + 1] = { partition = partition, low = bound.low, scanned = high, frontier = math.huge, rows = {} }
  end
  table.sort(lanes, function(a, b) return a.partition < b.partition end)
  return lanes
end

-- Moves the newest of what is safe to hand over into `found`, up to the limit.
local function merge(lanes, found, limit)
  local safe = -math.huge
  for _, lane in ipairs(lanes) do
    if lane.scanned > lane.low and not lane.silent then safe = math.max(safe, lane.frontier) end
  end
  while #found < limit do
    local newest
    for _, lane in ipairs(lanes) do
      local row = lane.rows[#lane.rows]
      if row and row.time >= safe and (not newest or row.time > newest.rows[#newest.rows].time) then newest = lane end
    end
    if not newest then return end
    found[#found + 1] = table.remove(newest.rows)
  end
end

-- The partitions that are to be read further: those that stand in the way of the others.
local function next_ranges(lanes, size)
  local open = {}
  for _, lane in ipairs(lanes) do
    if lane.scanned > lane.low and not lane.silent then open[#open + 1] = lane end
  end
  table.sort(open, function(a, b) return a.frontier > b.frontier end)
  local ranges = {}
  for i, lane in ipairs(open) do
    local middle = open[math.ceil(#open / 2)]
    if i > 1 and lane.frontier < middle.frontier then break end
    ranges[i] = { lane = lane, partition = lane.partition, from = math.max(lane.low, lane.scanned - size),
      to = lane.scanned, rows = {} }
  end
  return ranges
end

-- Takes a window that was read to its end; one that was not is read again, smaller.
local function settle(ranges, search)
  local whole = true
  for _, range in ipairs(ranges) do
    local lane = range.lane
    if range.ended then
      for _, row in ipairs(lane.rows) do range.rows[#range.rows + 1] = row end
      lane.rows, lane.scanned = range.rows, range.from
      if range.oldest then lane.frontier = math.min(lane.frontier, range.oldest) end
      search.oldest = math.min(search.oldest, range.oldest or math.huge)
    else
      whole = false
      lane.silent = not range.last and search.budget.bytes > 0
    end
  end
  return whole
end

local function next_token(lanes)
  local before, more = {}, false
  for _, lane in ipairs(lanes) do
    local newest = lane.rows[#lane.rows]
    before[lane.partition] = newest and newest.offset + 1 or lane.scanned
    more = more or before[lane.partition] > lane.low
  end
  return more and before or nil
end

local function next_size(size, whole, search)
  if not whole then return math.max(1, math.floor(size / 8)) end
  -- A window is not to take more than a small part of what may be read.
  local bytes = search.bytes / math.max(1, search.looked_at)
  return math.max(1, math.floor(math.min(size * 4, LARGEST_WINDOW, WINDOW_BYTES / 4 / math.max(1, bytes))))
end

-- Reads a window of some partitions; returns whether it was read whole.
local function read_window(search, ranges)
  local by_partition = {}
  for _, range in ipairs(ranges) do by_partition[range.partition] = range end
  search.budget = { until_time = search.until_time, bytes = WINDOW_BYTES }
  local ok, cause = window.read(search.properties, search.topic, ranges, search.budget, function(message)
    local range, time = by_partition[message.partition], (message.timestamp or 0) / 1000
    search.looked_at = search.looked_at + 1
    search.bytes = search.bytes + #(message.value or "")
    range.oldest = math.min(range.oldest or math.huge, time)
    if search.match(message) then range.rows[#range.rows + 1] = search.row(message) end
  end)
  if not ok then return nil, cause end
  search.problem = cause or search.problem
  return settle(ranges, search)
end

local function silent_of(lanes)
  local silent = {}
  for _, lane in ipairs(lanes) do
    if lane.silent then silent[#silent + 1] = lane.partition end
  end
  return silent
end

--- Reads the next page.
---@param search {properties: table, topic: string, bounds: table<integer, {low: integer, high: integer}>,
---  before: table<integer, integer>, size: integer|nil, limit: integer, until_time: number,
---  match: (fun(message: table): boolean), row: fun(message: table): table}
---@return {rows: table[], before: table<integer, integer>|nil, size: integer|nil, looked_at: integer, bytes: integer,
---  oldest: number, silent: integer[], problem: string|nil}|nil page before: where the next page begins, nil when there
---  is none; looked_at, bytes: what was read; oldest: how far back, milliseconds; silent: partitions that did not
---  answer; problem: why
---@return string|nil error
function M.page(search)
  local lanes, found = lanes_of(search.bounds, search.before), {}
  local size = search.size or FIRST_WINDOW
  search.looked_at, search.bytes, search.oldest = 0, 0, math.huge
  while true do
    local ranges = next_ranges(lanes, size)
    if #ranges == 0 then break end
    local whole, cause = read_window(search, ranges)
    if whole == nil then return nil, cause end
    size = next_size(size, whole, search)
    merge(lanes, found, search.limit)
    if #found >= search.limit or search.bytes > PAGE_BYTES or sys.monotonic() > search.until_time
      or search.problem then break end
  end
  -- A page that was filled says nothing of how far the next one is.
  if #found >= search.limit then size = nil end
  return { rows = found, before = next_token(lanes), size = size, looked_at = search.looked_at, bytes = search.bytes,
    oldest = search.oldest, silent = silent_of(lanes), problem = search.problem }
end

return M
