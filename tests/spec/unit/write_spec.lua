-- src/write.c: output to a pipe that whoever started us made non-blocking.
local servers = require "support.servers"

describe("standard output", function()
  it("gets every byte, also through a pipe that does not block and is read late", function()
    local directory = servers.directory()
    local script = assert(io.open(directory .. "/print.lua", "w"))
    script:write [[
      local dbobs, out = require "dbobs", require("dbobs.sink").stdout "t"
      for i = 1, 300 do assert(dbobs.send(out, nil, ("x"):rep(1000) .. i)) end
      require("dbobs.core.sys").write("end\n")
    ]]
    script:close()
    local output, ok = servers.shell(([[cd %s
      perl -e 'use Fcntl; fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK); exec @ARGV' %s run print.lua 2>log |
        (sleep 0.5; cat) >out
      cat log; wc -l <out; tail -n 1 out]]):format(directory, servers.quote(os.getenv "DBOBS")))
    assert.is_true(ok)
    assert.equal("301\nend\n", output)
  end)
end)
