--- dbobs version: what this binary is and what it was built of.
local cjson = require "cjson"
local sys = require "dbobs.core.sys"

local M = {}

M.usage = [[
Usage: dbobs version [--sbom]

Prints version, commit and build flags, then each library in the binary.

  --sbom   print the bill of materials instead (CycloneDX JSON: name, version, source hash, licence)
]]

M.options = { ["--sbom"] = "boolean" }

function M.run(arguments, given)
  if arguments[1] then return nil, ("unexpected '%s'"):format(arguments[1]) end
  local sbom = sys.embedded "sbom.json"
  if given.sbom then
    sys.write(sbom)
    return 0
  end
  local version, commit, flags = sys.version()
  local lines = { ("dbobs %s"):format(version), ("commit %s"):format(commit), ("flags %s"):format(flags) }
  for _, component in ipairs(cjson.decode(sbom).components) do
    lines[#lines + 1] = ("  %s %s"):format(component.name, component.version)
  end
  sys.write(table.concat(lines, "\n") .. "\n")
  return 0
end

return M
