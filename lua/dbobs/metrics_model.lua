--- How what a point is about is said: the models of the OpenTelemetry Collector's PostgreSQL receiver. A block names
--- schema, table and index of its rows; this makes resource attributes or attributes of the points of them.
---   legacy           a resource for each table and index; the schema stands before a table's name, and is not said of
---                    an index or a function
---   separate schema  the schema has an attribute of its own
---   semconv          one resource, the server: each point says by attributes what it is about
local M = {}

local SCHEMA, TABLE, INDEX = "postgresql.schema.name", "postgresql.table.name", "postgresql.index.name"

--- The attribute with which, in the model of the semantic conventions, a point says which database it is about.
M.NAMESPACE = "db.namespace"

---@class dbobs.metrics.model
---@field rows fun(resource: table<string, string>): table, table an SQL expression for each attribute of a row's
---   resource, and for each attribute that its points have besides their own
---@field one_resource boolean|nil no row has a resource of its own

local function copy(map)
  local new = {}
  for name, value in pairs(map) do new[name] = value end
  return new
end

local legacy = {
  rows = function(resource)
    local new = copy(resource)
    if resource[SCHEMA] and resource[TABLE] and not resource[INDEX] then
      new[TABLE] = ("%s || '.' || %s"):format(resource[SCHEMA], resource[TABLE])
    end
    new[SCHEMA] = nil
    return new, {}
  end,
}

local separate_schema = {
  rows = function(resource) return resource, {} end,
}

local semconv = {
  one_resource = true,
  rows = function(resource)
    local attributes = copy(resource)
    attributes[M.NAMESPACE] = resource[SCHEMA] and "current_database() || '|' || " .. resource[SCHEMA]
      or "current_database()"
    attributes["db.collection.name"] = resource[TABLE]
    attributes[SCHEMA], attributes[TABLE] = nil, nil
    return {}, attributes
  end,
}

--- The model that the collector's options ask for.
---@param options {separate_schema_attr: boolean, use_otel_semconv: boolean}
---@return dbobs.metrics.model
function M.of(options)
  if options.use_otel_semconv then return semconv end
  return options.separate_schema_attr and separate_schema or legacy
end

return M
