--- Headless Chromium for specs, driven by browser.mjs.
local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

local M = {}

--- Opens the address and runs a script there, the body of an async function with `page` (see browser.mjs).
---@param address string
---@param script string
---@return any result what the script returned; raises when it failed, or the page had an error
function M.run(address, script)
  local dir = servers.directory()
  process.write(dir .. "/script", script)
  -- In the background: a program that the page talks to may be this one.
  local one = process.start({ dir .. "/profile", address }, nil,
    { command = "node tests/spec/support/browser.mjs", input = dir .. "/script" })
  local code = one:wait()
  local output = one:stdout()
  if code ~= 0 then error(output .. one:stderr(), 2) end
  return cjson.decode(output)
end

return M
