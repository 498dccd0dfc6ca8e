-- Prints how many milliseconds have passed since `start` (seconds since 1970, taken before the process began).
local now = require("dbobs.core.sys").wall() / 1e6
local start = require("dbobs.pipeline").arguments { start = 0 }.start
io.stdout:write(("%.3f\n"):format((now - start) * 1000))
