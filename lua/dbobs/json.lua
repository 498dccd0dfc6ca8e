--- JSON texts and Lua values.
local cjson = require "cjson"

local M = {}

--- A value as JSON. An empty table is an object, one whose keys are 1, 2, ... an array.
---@param value any
---@return string json
M.encode = cjson.encode

--- The value of a JSON text; raises for what is none. null is dbobs.json.null. Integers beyond 2^53 lose their last
--- digits.
---@param json string
---@return any value
M.decode = cjson.decode

--- null, in what was decoded and to be encoded.
---@type userdata
M.null = cjson.null

return M
