--- What commands print, for a person at a terminal of any width, for a pipe, and for nobody: colours, wrapped text,
--- tables. All commands print through this.
local log = require "dbobs.log"
local sys = require "dbobs.core.sys"

local M = {}

local STYLES = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

-- Narrower than this no text is broken further.
local NARROWEST = 20
-- Between two columns of a table.
local GAP = "  "

---@class dbobs.terminal
---@field columns integer|nil how wide lines may be; nil: no terminal, lines are as long as they are
---@field colour boolean
---@field closed boolean|nil whoever read what is printed is gone
local terminal = {}
terminal.__index = terminal

--- Standard output. Colours are there on a terminal that has them, unless NO_COLOR is set.
---@return dbobs.terminal
function M.output()
  local is_terminal = sys.is_terminal(1)
  return setmetatable({
    columns = is_terminal and sys.columns(1) or nil,
    colour = is_terminal and (os.getenv "NO_COLOR" or "") == "" and os.getenv "TERM" ~= "dumb",
  }, terminal)
end

--- How many columns a text takes: one for each character of UTF-8.
---@param text string on one line
---@return integer
function M.width(text)
  local _, continued = text:gsub("[\128-\191]", "")
  return #text - continued
end

--- Prints a text.
---@param text string
---@return boolean ok false: nobody reads it any more, a reason to end quietly
function terminal:write(text)
  if self.closed then return false end
  log.clear_status()
  if not sys.write(text) then self.closed = true end
  return not self.closed
end

--- A text in a style.
---@param style "bold"|"dim"|"red"|"green"|"yellow"|"cyan"|nil
---@param text string
---@return string
function terminal:paint(style, text)
  if not self.colour or not style or text == "" then return text end
  return ("\27[%sm%s\27[0m"):format(STYLES[style], text)
end

-- The place behind the last character of a text that fits into so many columns.
local function cut_at(text, columns)
  local place = 1
  while columns > 0 and place <= #text do
    place = text:find("[^\128-\191]", place + 1) or #text + 1
    columns = columns - 1
  end
  return place
end

--- A text of at most so many columns; what was cut off is shown by a dot.
---@param text string
---@param columns integer
---@return string
function M.shorten(text, columns)
  if M.width(text) <= columns then return text end
  return text:sub(1, cut_at(text, math.max(columns - 1, 0)) - 1) .. "…"
end

--- Breaks a text into lines at its blanks; a word that is longer than a line is left whole.
---@param text string
---@param columns integer|nil nil: one line
---@param indent string|nil what each line begins with
---@param first string|nil what the first line begins with instead, of the same width
---@return string lines each with its newline
function M.wrap(text, columns, indent, first)
  indent = indent or ""
  local room = math.max((columns or math.huge) - M.width(indent), NARROWEST)
  local lines, line, width = {}, nil, 0
  for word in text:gmatch "%S+" do
    local more = M.width(word)
    if line and width + 1 + more > room then
      lines[#lines + 1], line = line, nil
    end
    if line then line, width = line .. " " .. word, width + 1 + more
    else line, width = word, more end
  end
  if line then lines[#lines + 1] = line end
  for i, one in ipairs(lines) do lines[i] = (i == 1 and first or indent) .. one .. "\n" end
  return table.concat(lines)
end

-- One line of a help text, broken so that what follows stands below where the description began.
local function fit_line(line, columns)
  if M.width(line) <= columns then return line .. "\n" end
  local head, rest = line:match "^(%s+%S.-%s%s+)(%S.*)$"
  if not head then
    local blanks, text = line:match "^(%s*)(.*)$"
    return M.wrap(text, columns, blanks)
  end
  if columns - M.width(head) >= NARROWEST then return M.wrap(rest, columns, (" "):rep(M.width(head)), head) end
  return head:gsub("%s+$", "") .. "\n" .. M.wrap(rest, columns, "      ")
end

-- Lines of one paragraph, or of one option and its description, as one line.
local function joined(text)
  local lines, column = {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    local indent = #line:match "^ *"
    local last = lines[#lines]
    local continues = last and last ~= "" and line ~= "" and (indent == column or (indent == 0 and not column
      and not last:find "^Usage:" and not last:find "^%s"))
    if continues then
      lines[#lines] = last .. " " .. line:sub(indent + 1)
    else
      lines[#lines + 1] = line
      local head = line:match "^(%s+%S.-%s%s+)%S"
      column = head and #head or nil
    end
  end
  return lines
end

--- Prints a help text, broken anew where the terminal is narrower than it.
---@param text string
function terminal:help(text)
  local widest = 0
  for line in text:gmatch "[^\n]+" do widest = math.max(widest, M.width(line)) end
  if not self.columns or widest <= self.columns then return self:write(text) end
  local lines = {}
  for i, line in ipairs(joined(text)) do lines[i] = fit_line(line, self.columns) end
  return self:write(table.concat(lines))
end

-- A table is at first no wider than its contents.
local function widths_of(columns, rows)
  local widths, sum = {}, (#columns - 1) * #GAP
  for i, column in ipairs(columns) do
    widths[i] = M.width(column.title)
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], M.width(tostring(row[i] or ""))) end
    sum = sum + widths[i]
  end
  return widths, sum
end

-- The widest column that may lose something, until all fit.
local function shrink(widths, columns, over)
  while over > 0 do
    local widest
    for i, column in ipairs(columns) do
      if column.least and widths[i] > column.least and (not widest or widths[i] > widths[widest]) then widest = i end
    end
    if not widest then return false end
    widths[widest], over = widths[widest] - 1, over - 1
  end
  return true
end

local function line_of(self, columns, widths, row, heading)
  local cells = {}
  for i, column in ipairs(columns) do
    local text = M.shorten(tostring(row[i] or ""), widths[i])
    local blanks = (" "):rep(widths[i] - M.width(text))
    local style = heading and "bold" or (column.style and column.style(row[i]))
    local painted = self:paint(style, text)
    if column.right then painted = blanks .. painted
    elseif i < #columns then painted = painted .. blanks end
    cells[i] = painted
  end
  return (table.concat(cells, GAP):gsub("%s+$", "")) .. "\n"
end

-- A row for a terminal that has no room for the table: its first cell, and under it the others by their titles.
local function block_of(self, columns, row)
  local text = { self:paint("bold", M.shorten(tostring(row[1] or ""), self.columns)) .. "\n" }
  for i = 2, #columns do
    local cell = tostring(row[i] or "")
    local style = columns[i].style and columns[i].style(row[i])
    if cell ~= "" then
      local room = math.max(self.columns - M.width(columns[i].title) - 4, NARROWEST)
      text[#text + 1] = ("  %s  %s\n"):format(columns[i].title, self:paint(style, M.shorten(cell, room)))
    end
  end
  return table.concat(text)
end

--- Prints a table: as wide as its contents; on a narrower terminal columns with `least` are cut down to that, and when
--- that is not enough, each row becomes a few lines.
---@param columns {title: string, right: boolean|nil, least: integer|nil, style: (fun(cell: any): string|nil)|nil}[]
---@param rows any[][] the cells; nil is an empty one
---@return boolean ok see write
function terminal:table(columns, rows)
  local widths, sum = widths_of(columns, rows)
  local over = self.columns and sum - self.columns or 0
  local text = {}
  if over > 0 and not shrink(widths, columns, over) then
    for i, row in ipairs(rows) do text[i] = block_of(self, columns, row) end
    return self:write(table.concat(text))
  end
  local titles = {}
  for i, column in ipairs(columns) do titles[i] = column.title end
  text[1] = line_of(self, columns, widths, titles, true)
  for i, row in ipairs(rows) do text[i + 1] = line_of(self, columns, widths, row) end
  return self:write(table.concat(text))
end

--- A number of bytes for people: "512 B", "1.5 MB".
---@param bytes number
---@return string
function M.bytes(bytes)
  local units = { "B", "kB", "MB", "GB", "TB", "PB" }
  local i = 1
  while bytes >= 999.5 and i < #units do bytes, i = bytes / 1000, i + 1 end
  return (i == 1 or bytes >= 99.5) and ("%.0f %s"):format(bytes, units[i]) or ("%.1f %s"):format(bytes, units[i])
end

return M
