--- Records as the topic monitor shows them: one row of a list, or the whole, decoded.
local cjson = require "cjson"
local decode = require "dbobs.core.decode"

local M = {}

-- Offsets have up to 16 digits.
local json = cjson.new()
json.encode_number_precision(16)
M.encode = json.encode

-- How much of a value is shown as bytes: of a whole record, and in a list.
local HEX_BYTES, LIST_BYTES = 4096, 32
local REPLACEMENT = "\239\191\189"

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x "):format(byte:byte()) end))
end

-- Whether more than a few characters of a text are none.
local function is_unreadable(text)
  local _, count = text:gsub(REPLACEMENT, "")
  return count * 12 > #text
end

--- The row of a record in a list.
---@param message table as dbobs.kafka.consumer has it
---@return {partition: integer, offset: integer, time: number, key: string|nil, size: integer, kind: string,
---  text: string} row time in milliseconds since 1970, 0 when it has none; size in bytes of key and value
function M.row(message)
  local text, kind = decode.saying(message.value)
  if kind == "binary" and is_unreadable(text) then text = hex(message.value:sub(1, LIST_BYTES)) end
  return {
    partition = message.partition,
    offset = message.offset,
    time = math.floor((message.timestamp or 0) / 1000),
    key = message.key and decode.saying(message.key),
    size = #(message.key or "") + #(message.value or ""),
    kind = kind,
    text = text,
  }
end

local function hex_lines(value)
  local lines = {}
  for first = 1, math.min(#value, HEX_BYTES), 16 do
    local part = value:sub(first, math.min(first + 15, HEX_BYTES))
    lines[#lines + 1] = ("%08x  %-48s %s"):format(first - 1, hex(part), (part:gsub("[^\32-\126]", ".")))
  end
  if #value > HEX_BYTES then lines[#lines + 1] = ("... %d bytes more"):format(#value - HEX_BYTES) end
  return table.concat(lines, "\n")
end

local function quote(text)
  return text and decode.quote(text) or "null"
end

--- The whole record as JSON text: {"row": as above, "headers": {..}, "key": text, "value": text, "hex": text}. The
--- value of an OTLP record is OTLP/JSON; hex is there for binary values, whose text is what there is of it.
---@param message table
---@return string json
function M.whole(message)
  local row, value = M.row(message), message.value
  local headers = {}
  for name, text in pairs(message.headers or {}) do headers[decode.saying(name)] = decode.saying(text) end
  if row.kind == "otlp" then value = decode.json(value) end
  local bytes = row.kind == "binary" and hex_lines(value) or nil
  return ('{"row":%s,"headers":%s,"key":%s,"value":%s,"hex":%s}'):format(json.encode(row), json.encode(headers),
    quote(message.key), quote(value), quote(bytes))
end

return M
