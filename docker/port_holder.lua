-- Who listens on a port, for messages: " (nginx, process 4711)", or nothing when that cannot be seen.
--   dbobs run docker/port_holder.lua port=5432
local dbobs = require "dbobs"

local given = dbobs.arguments { port = 0 }
local who = require("dbobs.http").listener(given.port)
io.write(who and (" (%s)"):format(who) or "")
