--- What each metric of the OpenTelemetry Collector's PostgreSQL receiver is. Names, units, kinds and types are the
--- receiver's; what computes them stands in pipelines/collectors/metrics.lua.

-- Only rises.
local function counter(unit, description, type)
  return { unit = unit, kind = "counter", type = type or "int", description = description }
end

-- Goes up and down, and can be added up over its attributes.
local function sum(unit, description)
  return { unit = unit, kind = "sum", type = "int", description = description }
end

-- A reading.
local function gauge(unit, description)
  return { unit = unit, kind = "gauge", type = "int", description = description }
end

return {
  ["postgresql.backends"] = sum("1", "Backends attached to the database"),
  ["postgresql.bgwriter.buffers.allocated"] = counter("{buffers}", "Buffers allocated"),
  ["postgresql.bgwriter.buffers.writes"] = counter("{buffers}", "Buffers written, by who wrote them"),
  ["postgresql.bgwriter.checkpoint.count"] = counter("{checkpoints}", "Checkpoints, by what began them"),
  ["postgresql.bgwriter.duration"] = counter("ms", "Time spent on checkpoints", "double"),
  ["postgresql.bgwriter.maxwritten"] = counter("1", "Cleaning scans that stopped at their page limit"),
  ["postgresql.blocks_read"] = counter("1", "Blocks read or found in memory, by kind of storage"),
  ["postgresql.commits"] = counter("1", "Transactions committed"),
  ["postgresql.connection.max"] = gauge("{connections}", "Connections that the server allows"),
  ["postgresql.database.count"] = sum("{databases}", "Databases that are collected"),
  ["postgresql.db_size"] = sum("By", "Size of the database on disk"),
  ["postgresql.index.scans"] = counter("{scans}", "Scans begun on the index"),
  ["postgresql.index.size"] = gauge("By", "Size of the index on disk"),
  ["postgresql.operations"] = counter("1", "Rows changed, by operation"),
  ["postgresql.replication.data_delay"] = gauge("By", "WAL that the standby has not replayed"),
  ["postgresql.rollbacks"] = counter("1", "Transactions rolled back"),
  ["postgresql.rows"] = sum("1", "Estimated rows of the table, by state"),
  ["postgresql.table.count"] = sum("{table}", "User tables in the database"),
  ["postgresql.table.size"] = sum("By", "Size of the table on disk"),
  ["postgresql.table.vacuum.count"] = counter("{vacuum}", "Manual vacuums of the table"),
  ["postgresql.wal.age"] = gauge("s", "Time since a WAL file was archived"),
  ["postgresql.wal.lag"] = gauge("s", "Time until the standby confirmed WAL, by what it did with it"),
}
