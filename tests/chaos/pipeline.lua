-- What is killed: a pipeline as a user has it, that follows a log in each format.
local dbobs = require "dbobs"

local given = dbobs.arguments { brokers = "", topic = "", delivery = "", prefix = "", jsonlog = "", csvlog = "",
  stderr = "" }
local kafka = dbobs.kafka { ["bootstrap.servers"] = given.brokers }

for _, format in ipairs { "jsonlog", "csvlog", "stderr" } do
  local path = given[format]
  if path ~= "" then
    -- Nothing listens there: the log is followed all the same.
    local target = { name = format, host = "127.0.0.1", port = 1, user = "nobody", dbname = "d", log_file = path,
      log_format = format, tags = { log = format }, log_timezone = "UTC", log_line_prefix = given.prefix }
    dbobs.collect(require "collectors.logs", target, { every = "1h", to = kafka:topic(given.topic),
      delivery = given.delivery })
  end
end
