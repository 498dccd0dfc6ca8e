--- dbobs init: writes the pipelines of the binary to disk, to edit them, and what an editor needs to help with that.
local dbobs = require "dbobs"
local lfs = require "lfs"
local reference = require "dbobs.reference"
local reference_text = require "dbobs.reference_text"
local sys = require "dbobs.core.sys"

local M = {}

M.usage = [[
Usage: dbobs init [DIRECTORY] [--force]

Writes DIRECTORY/pipelines (default: here) with the pipelines that are in the binary, the reference of the Lua API in
pipelines/api, and .luarc.json, with which an editor's lua-language-server completes and checks. Files that are there
already are left alone and told, but for the reference, which is always that of this dbobs.

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

-- Settings of lua-language-server, which looks for this file in the folder that the editor has open.
local LUARC = [[
{
  "runtime.version": "LuaJIT",
  "runtime.path": ["pipelines/?.lua", "?.lua"],
  "workspace.library": ["pipelines/api"],
  "workspace.checkThirdParty": false
}
]]

-- The files to write, {path, content, anew}: the pipelines, and the reference, which nobody edits.
local function files()
  local list = {}
  for _, path in ipairs(sys.embedded_list "pipelines/") do list[#list + 1] = { path, sys.embedded(path) } end
  local model = reference.read(getmetatable(dbobs).fields)
  list[#list + 1] = { "pipelines/api/README.md", reference_text.markdown(model), true }
  list[#list + 1] = { "pipelines/api/dbobs.lua", reference_text.meta(model), true }
  list[#list + 1] = { ".luarc.json", LUARC }
  return list
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
  for _, file in ipairs(files()) do
    local path, content = file[1], file[2]
    local place = directory == "." and path or directory .. "/" .. path
    if lfs.attributes(place) and not (given.force or file[3]) then
      sys.write(("kept     %s (it is there; --force overwrites it)\n"):format(place))
    else
      local ok, cause = write(place, content)
      sys.write(ok and ("written  %s\n"):format(place) or ("failed   %s\n"):format(cause))
      if not ok then code = 1 end
    end
  end
  if code == 0 then sys.write "Edit pipelines/targets.lua, then: dbobs check pipelines/pg.lua\n" end
  return code
end

return M
