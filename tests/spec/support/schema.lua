--- The JSON Schemas of proto/, and Debian's validator for them.
local cjson = require "cjson"
local process = require "support.process"
local servers = require "support.servers"

local M = {}

-- Closes each object below: a field that the schema does not name is an error. What stands in $defs is not closed
-- itself, for it is put together with others.
local function close(schema, in_definitions)
  if type(schema) ~= "table" then return end
  for name, inner in pairs(schema) do
    if name == "properties" or name == "$defs" then
      for _, one in pairs(inner) do close(one, name == "$defs") end
    elseif name == "items" then
      close(inner)
    end
  end
  if schema.properties and not in_definitions and schema.additionalProperties == nil then
    schema.unevaluatedProperties = false
  end
  if schema.oneOf and schema.type == "object" and not in_definitions then schema.unevaluatedProperties = false end
end

--- What is wrong with records, by proto/<name>.schema.json; "" when nothing is. Fields that the schema does not name
--- are errors here, though the schema allows them to its readers.
---@param name string
---@param texts string[] JSON texts
---@return string
function M.problems(name, texts)
  local schema = cjson.decode(assert(process.read(("proto/%s.schema.json"):format(name))))
  close(schema)
  local definitions = schema["$defs"]
  schema["$defs"] = nil
  local list = { ["$schema"] = schema["$schema"], type = "array", items = schema, ["$defs"] = definitions }
  schema["$schema"] = nil
  local dir = servers.directory()
  process.write(dir .. "/schema.json", cjson.encode(list))
  process.write(dir .. "/records.json", "[" .. table.concat(texts, ",\n") .. "]")
  return (servers.shell(("/usr/bin/python3 -m jsonschema -i %s/records.json %s/schema.json 2>&1"):format(dir, dir)))
end

--- Raises unless all records that support.collector decoded are as their schemas say, events of the kinds among them.
---@param shapes table<string, string> support.collector's
---@param kinds string[] values of event_type, and "query" for statements
function M.verify(shapes, kinds)
  local by_type, seen = { log = {}, query = {} }, {}
  for _, text in pairs(shapes) do
    local record = cjson.decode(text)
    table.insert(by_type[record.data_type], text)
    seen[record.payload.event_type or record.data_type] = true
  end
  for _, kind in ipairs(kinds) do
    if not seen[kind] then error("no record of the kind " .. kind, 2) end
  end
  for data_type, name in pairs { log = "raw-logs", query = "raw-queries" } do
    local problems = #by_type[data_type] > 0 and M.problems(name, by_type[data_type]) or ""
    if problems ~= "" then error(problems, 2) end
  end
end

return M
