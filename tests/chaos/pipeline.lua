-- What is killed: a pipeline as a user has it, that follows a log in each format.
local dbobs = require "dbobs"

local given = dbobs.arguments { brokers = "", topic = "", delivery = "", prefix = "", jsonlog = "", csvlog = "",
  stderr = "", sql = 0 }
local kafka = dbobs.kafka { ["bootstrap.servers"] = given.brokers }

-- The directory of a log, read by a server that has it for its own.
local function queries(directory)
  return function()
    return {
      list = ([[select name, (stat).size, (stat).modification
        from (select name, pg_stat_file('%s/' || name, true) as stat from pg_ls_dir('%s') as name) as files
        where (stat).size is not null]]):format(directory, directory),
      read = ("select pg_read_binary_file('%s/' || $1, $2, $3, true)"):format(directory),
    }
  end
end

for _, format in ipairs { "jsonlog", "csvlog", "stderr" } do
  local path = given[format]
  if path ~= "" then
    -- Nothing listens there: the log is followed all the same.
    local target = { name = format, host = "127.0.0.1", port = 1, user = "nobody", dbname = "d", log_file = path,
      log_format = format, tags = { log = format }, log_timezone = "UTC", log_line_prefix = given.prefix }
    if given.sql > 0 then
      target.port, target.user, target.password, target.dbname = given.sql, "postgres", "postgres", "postgres"
      target.log_file, target.log_source, target.log_queries = nil, "sql", queries(path:match "^(.*)/")
    end
    dbobs.collect(require "collectors.logs", target, { every = "1h", to = kafka:topic(given.topic),
      delivery = given.delivery })
  end
end
