--- What a load test prints: a line for each tick, and the tables at the end.
local result = require "dbobs.load.result"

local M = {}

local function sorted_keys(counts)
  local keys = {}
  for key in pairs(counts) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  return keys
end

local function error_list(errors)
  local parts = {}
  for _, state in ipairs(sorted_keys(errors)) do parts[#parts + 1] = ("%s: %d"):format(state, errors[state]) end
  return table.concat(parts, ", ")
end

--- Milliseconds, eight columns wide; from 10 s on seconds, with their unit.
---@param ms number
function M.ms(ms)
  if ms >= 10000 then return ("%7.2fs"):format(ms / 1e3) end
  if ms >= 100 then return ("%8.1f"):format(ms) end
  return ("%8.3f"):format(ms)
end

--- The line of a tick.
---@param tick {t: number, rate: number, p50_ms: number, p99_ms: number, errors: table, connected: integer}
function M.line(tick)
  local failed = result.sum(tick.errors)
  local errors = failed > 0 and ("%d (%s)"):format(failed, error_list(tick.errors)) or "0"
  return ("%6gs %10.1f/s   p50 %s ms   p99 %s ms   errors %s   connections %d\n"):format(tick.t, tick.rate,
    M.ms(tick.p50_ms), M.ms(tick.p99_ms), errors, tick.connected)
end

local COLUMNS = { "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "p9999_ms", "max_ms" }
local HEAD = ("%9s%10s%9s%9s%9s%9s%9s%9s%9s"):format("count", "rate/s", "mean", "p50", "p95", "p99", "p99.9",
  "p99.99", "max")

local function row(times)
  local parts = { ("%9d%10.1f"):format(times.count, times.rate) }
  for _, column in ipairs(COLUMNS) do parts[#parts + 1] = " " .. M.ms(times[column]) end
  return table.concat(parts)
end

local function short(text)
  text = text:gsub("%s+", " ")
  return #text > 70 and text:sub(1, 67) .. "..." or text
end

local function event_lines(add, events, open)
  for _, event in ipairs(events) do
    add(("%-22s %s"):format(event.name, event.events > 0 and row(event.response or event.service) or "        0"))
    if open and event.events > 0 then add(("%-22s %s"):format("  from its real start", row(event.service))) end
    if event.failed > 0 then add(("%-22s %9d  %s"):format("  errors", event.failed, error_list(event.errors))) end
    if event.retries > 0 then add(("%-22s %9d"):format("  retries", event.retries)) end
  end
end

local function bytes(count)
  if count >= 2 ^ 30 then return ("%.2f GiB"):format(count / 2 ^ 30) end
  if count >= 2 ^ 20 then return ("%.1f MiB"):format(count / 2 ^ 20) end
  return ("%.1f KiB"):format(count / 2 ^ 10)
end

local function totals(add, total, open)
  if open then
    add(("not started in time: %d of %d events that the rate asked for"):format(total.not_started,
      total.events + total.failed + total.not_started + total.unfinished))
  end
  if total.unfinished > 0 then add(("cut off at the end: %d"):format(total.unfinished)) end
  if total.failed > 0 then
    add(("errors: %d"):format(total.failed))
    for _, state in ipairs(sorted_keys(total.errors)) do
      add(("  %-6s %8d  %s"):format(state, total.errors[state], total.messages[state] or ""))
    end
  end
  if total.reconnects > 0 then add(("connections made anew: %d"):format(total.reconnects)) end
  local moved = total.received_bytes > 0
    and ("%s received, %s sent"):format(bytes(total.received_bytes), bytes(total.sent_bytes))
    or "not known over a Unix socket"
  add(("transferred: %s; client CPU: %.1f us an event"):format(moved, total.cpu_us_per_event))
end

--- The tables at the end.
---@param final table see dbobs.load.result
---@return string
function M.report(final)
  local lines = {}
  local function add(line) lines[#lines + 1] = line end
  local open = final.total.response ~= nil
  add(("\n%s: %.1f s, %d events, %.1f a second, %s"):format(final.workload, final.seconds, final.total.events,
    final.total.rate, final.loop))
  add(open and "times in ms, from when each event should have started:" or "times in ms:")
  add(("%-22s %s"):format("event", HEAD))
  event_lines(add, final.events, open)
  if #final.events > 1 then
    add(("%-22s %s"):format("all", row(final.total.response or final.total.service)))
    if open then add(("%-22s %s"):format("  from its real start", row(final.total.service))) end
  end
  add(("\n%-22s %s"):format("statement", HEAD))
  for _, statement in ipairs(final.statements) do
    local errors = statement.errors > 0 and ("   errors: %d"):format(statement.errors) or ""
    add(short(statement.statement) .. errors)
    if statement.count > 0 then add(("%-22s %s"):format("", row(statement))) end
    if statement.pipelined > 0 then add(("%-22s %9d in pipelines"):format("", statement.pipelined)) end
  end
  add("")
  totals(add, final.total, open)
  for _, sentence in ipairs(final.broken) do add("LIMIT BROKEN: " .. sentence) end
  return table.concat(lines, "\n") .. "\n"
end

return M
