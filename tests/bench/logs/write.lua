-- Appends jsonlog lines to a file at a rate, each with the microsecond at which it is written.
local dbobs = require "dbobs"

local options = dbobs.arguments { path = "", rate = 1000, seconds = 20 }

local line = '{"timestamp":"2026-03-29 02:30:00.123 UTC","user":"shop","dbname":"app","pid":17045,"remote_host":'
  .. '"10.0.0.17","remote_port":40112,"session_id":"6b039507.4295","line_num":%d,"ps":"SELECT","session_start":'
  .. '"2026-03-29 02:29:11 UTC","vxid":"0/7","txid":0,"error_severity":"LOG","message":"duration: 0.885 ms  statement: '
  .. 'select id, email, name from users where id = 42 /* written at %.0f */","application_name":"shop",'
  .. '"backend_type":"client backend","query_id":-1234567890123456789}\n'

local file = assert(io.open(options.path, "ab"))
file:setvbuf "no"
local begun, written = dbobs.monotonic(), 0
while written < options.rate * options.seconds do
  local due = math.floor((dbobs.monotonic() - begun) * options.rate)
  while written < due do
    written = written + 1
    assert(file:write(line:format(written, dbobs.now())))
  end
  dbobs.sleep(0.001)
end
file:close()
