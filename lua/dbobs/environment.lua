--- The environment, in which an empty variable counts as unset (compose files often set one so).
local M = {}

--- An environment variable.
---@param name string
---@param default string|nil
---@return string|nil
function M.get(name, default)
  local value = os.getenv(name)
  if value == nil or value == "" then return default end
  return value
end

return M
