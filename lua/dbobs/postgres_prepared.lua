--- Prepared statements of one connection, by their text: which there are, and which must go to make room for others.
local M = {}

-- So many are kept; each takes memory in the server's process.
local MOST = 64

---@class dbobs.prepared
---@field entries table<string, table> text -> {text, name, ready, used, sent}; ready: the server has it; sent: by which
---   pipeline
---@field stale string[] names that the server still has and nobody wants

--- The bookkeeping of a new connection.
---@return dbobs.prepared
function M.new()
  return { entries = {}, stale = {}, count = 0, serial = 0, clock = 0 }
end

--- Forgets a statement; what the server has of it goes with the next pipeline.
---@param book dbobs.prepared
---@param entry table
function M.forget(book, entry)
  if entry.ready then book.stale[#book.stale + 1] = entry.name end
  if book.entries[entry.text] ~= entry then return end
  book.entries[entry.text] = nil
  book.count = book.count - 1
end

--- Forgets them all: the server has none any more.
---@param book dbobs.prepared
function M.forget_all(book)
  book.entries, book.stale, book.count = {}, {}, 0
end

local function oldest(book)
  local found
  for _, entry in pairs(book.entries) do
    if not found or entry.used < found.used then found = entry end
  end
  return found
end

--- The statement of a text. Unless it is ready it must be prepared under its name first.
---@param book dbobs.prepared
---@param text string
---@return table entry
function M.get(book, text)
  local entry = book.entries[text]
  book.clock = book.clock + 1
  if not entry then
    if book.count >= MOST then M.forget(book, oldest(book)) end
    book.serial, book.count = book.serial + 1, book.count + 1
    entry = { text = text, name = "dbobs_" .. book.serial, ready = false }
    book.entries[text] = entry
  end
  entry.used = book.clock
  return entry
end

--- The names to deallocate; they are no longer stale.
---@param book dbobs.prepared
---@return string[]
function M.take_stale(book)
  local names = book.stale
  if #names > 0 then book.stale = {} end
  return names
end

return M
