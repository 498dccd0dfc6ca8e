--- dbobs help: the commands, or one of them.
local commands = require "dbobs.commands"
local options = require "dbobs.options"
local terminal = require "dbobs.terminal"

local M = {}

M.usage = [[
dbobs watches PostgreSQL servers and publishes raw metrics, log events and statement statistics to Kafka.

Usage: dbobs COMMAND [ARGUMENTS]

  run FILE [name=value]   run a pipeline, a load test or any script
  check FILE              tell for each target what works and what is missing
  health                  tell how the dbobs that runs on this machine is
  init [DIRECTORY]        write the pipelines that are in the binary, to edit them
  consume [TOPIC...]      print records, decoded
  topics                  list topics, or create those of the contract
  repl                    the API at a prompt
  ui                      show brokers, topics, groups and records as a page in the browser
  broker                  run the embedded broker, for trying and testing
  test PATH...            run busted specs inside this binary
  version                 version, commit and what it was built of
  help [COMMAND]          this text, or a command's

Every command takes, behind its name, --help, --log-format text|logfmt|json and --log-level debug|info|warn|error.
Logs go to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage.

Environment: PG* (libpq's), KAFKA_BOOTSTRAP_SERVERS, ENVIRONMENT, COLLECTION_INTERVAL. README has a tour.
]]

M.options = {}

function M.run(arguments)
  if arguments[2] then return nil, ("unexpected '%s'"):format(arguments[2]) end
  local name = arguments[1]
  if not name then
    terminal.output():help(M.usage)
    return 0
  end
  local ok, command = pcall(require, "dbobs.cli." .. name)
  if not ok or type(command) ~= "table" then
    return nil, ("no command '%s'%s"):format(name, options.hint(name, commands))
  end
  terminal.output():help(command.usage)
  return 0
end

return M
