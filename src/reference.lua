-- Prints the reference of the Lua API, which stands in lua/README.md: make docs.
local fields = getmetatable(require "dbobs").fields
local model = require("dbobs.reference").read(fields)
io.write(require("dbobs.reference_text").markdown(model))
