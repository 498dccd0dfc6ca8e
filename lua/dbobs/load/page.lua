--- The result of a load test as a page of its own: one HTML file with everything in it, plots drawn as SVG by the
--- script at its end. It loads nothing.
local cjson = require "cjson"
local sys = require "dbobs.core.sys"

local M = {}

-- The distribution as steps for the plot: percentiles on an axis of nines.
local function distribution(times)
  local points = {}
  for _, step in ipairs(times:percentiles(5)) do
    if step[2] < 100 then points[#points + 1] = { step[2], step[1] * 1e3 } end
  end
  points[#points + 1] = { 100 - 100 / (times:count() + 1), times:max() * 1e3 }
  return points
end

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

--- The page.
---@param final table see dbobs.load.result
---@param all table its histograms
---@return string
function M.render(final, all)
  local page = sys.embedded "lua/dbobs/load/page.html"
  local data = {
    final = final, response = all.response and distribution(all.response) or cjson.null,
    service = distribution(all.service),
  }
  -- "</" must not end the script that the data stands in.
  local text = cjson.encode(data):gsub("</", "<\\/")
  local parts = {
    title = escape(("%s, %s"):format(final.workload, final.started)), data = text,
  }
  return (page:gsub("{{(%l+)}}", parts))
end

return M
