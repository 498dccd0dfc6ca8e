--- The figures of a thread's statements, by their text.
local histogram = require "dbobs.core.histogram"

local M = {}

-- A workload that makes its texts up has more than can be told one by one, or be kept prepared.
local MOST = 100
local OTHERS = "(other statements)"

local statements = {}
statements.__index = statements

--- @param protocol "prepared"|"extended"|"simple"
function M.new(protocol)
  return setmetatable({ protocol = protocol, by_text = {}, count = 0 }, statements)
end

local function add(self, text)
  self.count = self.count + 1
  local prepared = self.protocol == "prepared" and text ~= OTHERS and text:sub(1, 1) ~= "("
  local figure = {
    text = text, prepared = prepared, handle = prepared and "dbobs_" .. self.count or text,
    histogram = histogram.new(), errors = 0, piped = 0,
  }
  figure.pointer = figure.histogram:pointer()
  self.by_text[text] = figure
  return figure
end

--- The figure of a statement.
---@param text string
function statements:get(text)
  local figure = self.by_text[text]
  if figure then return figure end
  if self.count < MOST then return add(self, text) end
  figure = self.by_text[OTHERS]
  if not figure then
    figure = add(self, OTHERS)
    figure.shared = true
  end
  return figure
end

return M
