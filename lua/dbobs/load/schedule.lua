--- When events should start: the arrivals of an open loop, for one thread of several.
local M = {}

-- While the rate is zero, it is asked again after so many seconds.
local LOOK_AGAIN = 0.01

local schedule = {}
schedule.__index = schedule

---@param given {rate: number|fun(t: number): number, poisson: boolean, start: number, index: integer, threads: integer,
---   random: userdata} rate: events a second of the whole test at t seconds after the start; index from 1 on
function M.new(given)
  local self = setmetatable({
    rate = given.rate, poisson = given.poisson, start = given.start, threads = given.threads, random = given.random,
  }, schedule)
  self.due, self.taken = given.start, 0
  self.even = not given.poisson and type(given.rate) == "number"
  if given.poisson then
    self:advance()
  elseif self.even then
    self.first = given.start + (given.index - 1) / given.rate
    self.due = self.first
  end
  return self
end

-- Moves on to the next arrival.
function schedule:advance()
  local rate = self.rate
  if self.even then
    -- Multiplied, not added up: the errors of a million additions are seen.
    self.taken = self.taken + 1
    self.due = self.first + self.taken * self.threads / rate
    return
  end
  if type(rate) == "function" then
    rate = rate(self.due - self.start)
    while rate <= 0 or rate ~= rate do
      self.due = self.due + LOOK_AGAIN
      if self.due - self.start > 1e9 then return end
      rate = self.rate(self.due - self.start)
    end
  end
  local mean = self.threads / rate
  self.due = self.due + (self.poisson and self.random:interval(mean) or mean)
end

--- Takes the next arrival.
---@return number due seconds of the monotonic clock
function schedule:take()
  local due = self.due
  self:advance()
  return due
end

--- How many arrivals are left before a time; they are taken.
---@param ends number
---@return integer
function schedule:left(ends)
  if self.even then
    local count = math.max(0, math.ceil((ends - self.due) * self.rate / self.threads - 1e-6))
    self.taken = self.taken + count - 1
    self:advance()
    return count
  end
  local count = 0
  while self.due < ends do
    count = count + 1
    self:advance()
  end
  return count
end

return M
