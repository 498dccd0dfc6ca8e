--- The commands of dbobs, each a module dbobs.cli.<name>, in the order of the help.
return { "run", "check", "health", "init", "consume", "topics", "ui", "repl", "broker", "test", "version", "help" }
