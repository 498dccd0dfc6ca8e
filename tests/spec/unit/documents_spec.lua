-- Documents say what the code says: each message that troubleshooting.md quotes is one of dbobs' own.
local DOCUMENT = "pipelines/operating/troubleshooting.md"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- A source with its texts put together: "a " .. "b" of Lua, "a " "b" of C, and [[ ]] as they stand.
local function flattened(path)
  local text = read(path):gsub('"%s*\n?%s*%.%.%s*"', ""):gsub('"%s*\n%s*"', "")
  return (text:gsub("\\'", "'"):gsub('\\"', '"'))
end

local function sources()
  local list = {}
  local pipe = io.popen "find lua pipelines src -name '*.lua' -o -name '*.c'"
  for path in pipe:lines() do list[path] = flattened(path) end
  pipe:close()
  return list
end

-- The fixed parts of a message, between its ellipses.
local function parts_of(message)
  local parts = {}
  for part in (message:gsub("…", "\0")):gmatch "[^%z]+" do
    local trimmed = part:match "^%s*(.-)%s*$"
    if #trimmed > 0 then parts[#parts + 1] = trimmed end
  end
  return parts
end

local function holds(source, parts)
  local at = 1
  for _, part in ipairs(parts) do
    local _, last = source:find(part, at, true)
    if not last then return false end
    at = last + 1
  end
  return true
end

describe("troubleshooting", function()
  local all = sources()

  for message in read(DOCUMENT):gmatch "\n```message\n(.-)\n```" do
    it("quotes what dbobs says: " .. message:sub(1, 60), function()
      local parts = parts_of(message)
      assert.is_true(#parts > 0 and #table.concat(parts) >= 15)
      for _, source in pairs(all) do
        if holds(source, parts) then return end
      end
      error(DOCUMENT .. ": no source says: " .. message)
    end)
  end

  it("quotes messages", function()
    local _, count = read(DOCUMENT):gsub("\n```message\n", "")
    assert.is_true(count >= 30)
  end)
end)
