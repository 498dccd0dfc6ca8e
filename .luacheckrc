-- Lua as LuaJIT has it, in the binary and in pipelines.
std = "luajit"
max_line_length = 120
cache = false
files["tests"] = { std = "luajit+busted" }
-- The one place that wraps resume, so that a wait inside a user's own coroutine reaches the loop.
files["lua/dbobs/task.lua"] = { globals = { "coroutine" } }
exclude_files = { "build", "tests/fuzz" }
