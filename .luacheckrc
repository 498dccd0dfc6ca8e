-- Lua as LuaJIT has it, in the binary and in pipelines.
std = "luajit"
max_line_length = 120
cache = false
files["tests"] = { std = "luajit+busted" }
exclude_files = { "build", "tests/fuzz" }
