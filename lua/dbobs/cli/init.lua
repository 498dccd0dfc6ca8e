--- dbobs init: writes the pipelines of the binary to disk, to edit them.
local lfs = require "lfs"
local sys = require "dbobs.core.sys"

local M = {}

M.usage = [[
Usage: dbobs init [DIRECTORY] [--force]

Writes DIRECTORY/pipelines (default: here) with the pipelines that are in the binary. Files that are there already are
left alone and told.

  --force   overwrite them
]]

M.options = { ["--force"] = "boolean" }

local function make_directories(path)
  local built = path:sub(1, 1) == "/" and "/" or ""
  for part in path:gmatch "[^/]+" do
    built = built .. part .. "/"
    if not lfs.attributes(built) then
      local ok, cause = lfs.mkdir(built)
      if not ok then return nil, ("cannot make the directory %s: %s"):format(built, cause) end
    end
  end
  return true
end

local function write(path, content)
  local ok, cause = make_directories(path:match "^(.*)/" or ".")
  if not ok then return nil, cause end
  local file
  file, cause = io.open(path, "wb")
  if not file then return nil, ("cannot write %s"):format(cause) end
  local written, write_cause = file:write(content)
  local closed, close_cause = file:close()
  if not (written and closed) then return nil, ("cannot write %s: %s"):format(path, write_cause or close_cause) end
  return true
end

function M.run(arguments, given)
  if arguments[2] then return nil, ("unexpected '%s'"):format(arguments[2]) end
  local directory = (arguments[1] or "."):gsub("(.)/+$", "%1")
  local code = 0
  for _, path in ipairs(sys.embedded_list "pipelines/") do
    local place = directory == "." and path or directory .. "/" .. path
    if lfs.attributes(place) and not given.force then
      sys.write(("kept     %s (it is there; --force overwrites it)\n"):format(place))
    else
      local ok, cause = write(place, sys.embedded(path))
      sys.write(ok and ("written  %s\n"):format(place) or ("failed   %s\n"):format(cause))
      if not ok then code = 1 end
    end
  end
  if code == 0 then sys.write "Edit pipelines/targets.lua, then: dbobs check pipelines/pg.lua\n" end
  return code
end

return M
