--- librdkafka's properties as a pipeline gives them: their texts, the defaults, and what this build has not.
local core = require "dbobs.core.kafka"
local embedded = require "dbobs.kafka_embedded"
local options = require "dbobs.options"

local M = {}

-- Second names of properties that have a default of ours.
local ALIASES = {
  ["metadata.broker.list"] = "bootstrap.servers",
  ["request.required.acks"] = "acks",
  ["delivery.timeout.ms"] = "message.timeout.ms",
  ["queue.buffering.max.ms"] = "linger.ms",
  ["sasl.mechanism"] = "sasl.mechanisms",
}

local KERBEROS = "Kerberos (GSSAPI) is not built into dbobs: use SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN with TLS"
local OIDC = "OIDC is not built into dbobs: use SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN with TLS"

-- Raises at the first line that is not the library's own.
local function misuse(message)
  for level = 2, 20 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and info.source:sub(1, 11) ~= "@dbobs:lua/" then
      error(("%s:%d: %s"):format(info.short_src, info.currentline, message), 0)
    end
  end
  error(message, 0)
end
M.misuse = misuse

--- A table's values as texts.
---@param given table<string, string|number|boolean>
---@param what string whose they are, for messages
---@return table<string, string>
function M.texts(given, what)
  local texts = {}
  for name, value in pairs(given) do
    local kind = type(value)
    if type(name) ~= "string" then misuse(("%s: a property's name expected, got %s"):format(what, tostring(name))) end
    if kind == "number" then value = value % 1 == 0 and ("%d"):format(value) or tostring(value) end
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      misuse(("%s: property '%s' must be a string, a number or a boolean, got %s"):format(what, name, kind))
    end
    texts[name] = tostring(value)
  end
  return texts
end

-- What this build of librdkafka has not is told by its name, not by librdkafka's "recompile with ...".
local function check_build(texts, what)
  local mechanism, protocol = texts["sasl.mechanisms"], (texts["security.protocol"] or ""):lower()
  for name in pairs(texts) do
    if name:find("sasl.kerberos.", 1, true) then misuse(("%s: property '%s': %s"):format(what, name, KERBEROS)) end
  end
  if mechanism and mechanism:upper() == "GSSAPI" then misuse(("%s: sasl.mechanisms: %s"):format(what, KERBEROS)) end
  if protocol:find "^sasl" and not mechanism then
    misuse(("%s: sasl.mechanisms is missing, and its default, %s"):format(what, KERBEROS))
  end
  if (texts["sasl.oauthbearer.method"] or ""):lower() == "oidc" then
    misuse(("%s: sasl.oauthbearer.method: %s"):format(what, OIDC))
  end
  if mechanism and mechanism:upper() == "OAUTHBEARER" and texts["enable.sasl.oauthbearer.unsecure.jwt"] ~= "true" then
    misuse(("%s: sasl.mechanisms: OAUTHBEARER needs somebody who gets tokens, which dbobs has not: use SCRAM-SHA-512, "
      .. "SCRAM-SHA-256 or PLAIN with TLS"):format(what))
  end
  if texts["plugin.library.paths"] then
    misuse(what .. ": plugin.library.paths: a static binary cannot load plugins")
  end
end

--- The properties as texts, over the defaults, with the brokers' address.
---@param given table<string, string|number|boolean>
---@param defaults table<string, string>
---@param what string
---@return table<string, string>
function M.complete(given, defaults, what)
  if type(given) ~= "table" then
    misuse(('%s: a table of properties expected, like { ["bootstrap.servers"] = "localhost:9092" }, got %s')
      :format(what, type(given)))
  end
  local texts = {}
  for name, value in pairs(defaults) do texts[name] = value end
  for name, value in pairs(M.texts(given, what)) do texts[ALIASES[name] or name] = value end
  check_build(texts, what)
  local encrypted = (texts["security.protocol"] or ""):lower():find "ssl"
  if encrypted and not texts["ssl.ca.location"] and not texts["ssl.ca.pem"] then
    texts["ssl.ca.location"] = "probe" -- wherever this system keeps its certificates
  end
  if texts["bootstrap.servers"] == "embedded" then texts["bootstrap.servers"] = embedded.address() end
  if (texts["bootstrap.servers"] or "") == "" then
    misuse(what .. ': property \'bootstrap.servers\' is missing, like "localhost:9092" (or "embedded", to try things)')
  end
  return texts
end

--- Raises when a property is there that has no place here.
function M.refuse(texts, name, why)
  if texts[name] then misuse(("dbobs.kafka: property '%s': %s"):format(name, why)) end
end

--- Raises what librdkafka said of the properties.
---@param what string
---@param cause string
---@param unknown boolean|nil whether cause is the name of a property that it does not know
function M.raise(what, cause, unknown)
  if unknown then
    local nearest = options.nearest(cause, core.properties())
    misuse(("%s: unknown librdkafka property '%s'%s"):format(what, cause,
      nearest and ("; did you mean '%s'?"):format(nearest) or ""))
  end
  if cause:find("enable.idempotence", 1, true) then
    cause = cause .. ' (dbobs turns it on; say ["enable.idempotence"] = false)'
  end
  misuse(("%s: %s"):format(what, cause))
end

return M
