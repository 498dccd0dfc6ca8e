--- What each metric of the OpenTelemetry Collector's PostgreSQL receiver is. Names, units, kinds, types and what is on
--- by default are the receiver's; what computes them stands in pipelines/collectors/metrics.lua.

-- Only rises.
local function counter(unit, description, type)
  return { unit = unit, kind = "counter", type = type or "int", description = description }
end

-- Goes up and down, and can be added up over its attributes.
local function sum(unit, description)
  return { unit = unit, kind = "sum", type = "int", description = description }
end

-- A reading.
local function gauge(unit, description, type)
  return { unit = unit, kind = "gauge", type = type or "int", description = description }
end

-- Is sent when the collector's option `metrics` switches it on.
local function off(metric)
  metric.enabled = false
  return metric
end

return {
  ["postgresql.backends"] = sum("1", "Backends attached to the database"),
  ["postgresql.bgwriter.buffers.allocated"] = counter("{buffers}", "Buffers allocated"),
  ["postgresql.bgwriter.buffers.writes"] = counter("{buffers}", "Buffers written, by who wrote them"),
  ["postgresql.bgwriter.checkpoint.count"] = counter("{checkpoints}", "Checkpoints, by what began them"),
  ["postgresql.bgwriter.duration"] = counter("ms", "Time spent on checkpoints", "double"),
  ["postgresql.bgwriter.maxwritten"] = counter("1", "Cleaning scans that stopped at their page limit"),
  ["postgresql.blks_hit"] = off(counter("{blks_hit}", "Blocks that were found in memory")),
  ["postgresql.blks_read"] = off(counter("{blks_read}", "Blocks that had to be read")),
  ["postgresql.blocks_read"] = counter("1", "Blocks read or found in memory, by kind of storage"),
  ["postgresql.commits"] = counter("1", "Transactions committed"),
  ["postgresql.connection.max"] = gauge("{connections}", "Connections that the server allows"),
  ["postgresql.database.count"] = sum("{databases}", "Databases that are collected"),
  ["postgresql.database.locks"] = off(gauge("{lock}", "Locks held or waited for, by relation, mode and kind")),
  ["postgresql.db_size"] = sum("By", "Size of the database on disk"),
  ["postgresql.deadlocks"] = off(counter("{deadlock}", "Deadlocks found in the database")),
  ["postgresql.function.calls"] = off(counter("{call}", "Calls of the function, while track_functions is on")),
  ["postgresql.index.scans"] = counter("{scans}", "Scans begun on the index"),
  ["postgresql.index.size"] = gauge("By", "Size of the index on disk"),
  ["postgresql.operations"] = counter("1", "Rows changed, by operation"),
  ["postgresql.query.conflicts"] = off(counter("{query}", "Queries that a standby cancelled, by what was in the way")),
  ["postgresql.query.execution.time"] = off(counter("s", "Time spent in the database's statements", "double")),
  ["postgresql.replication.data_delay"] = gauge("By", "WAL that the standby has not replayed"),
  ["postgresql.rollbacks"] = counter("1", "Transactions rolled back"),
  ["postgresql.rows"] = sum("1", "Estimated rows of the table, by state"),
  ["postgresql.sequential_scans"] = off(counter("{sequential_scan}", "Sequential scans begun on the table")),
  ["postgresql.table.count"] = sum("{table}", "User tables in the database"),
  ["postgresql.table.size"] = sum("By", "Size of the table on disk"),
  ["postgresql.table.vacuum.count"] = counter("{vacuum}", "Manual vacuums of the table"),
  ["postgresql.temp.io"] = off(counter("By", "Bytes written to temporary files")),
  ["postgresql.temp_files"] = off(counter("{temp_file}", "Temporary files that queries made")),
  ["postgresql.tup_deleted"] = off(counter("{tup_deleted}", "Rows deleted in the database")),
  ["postgresql.tup_fetched"] = off(counter("{tup_fetched}", "Rows fetched in the database")),
  ["postgresql.tup_inserted"] = off(counter("{tup_inserted}", "Rows inserted in the database")),
  ["postgresql.tup_returned"] = off(counter("{tup_returned}", "Rows returned in the database")),
  ["postgresql.tup_updated"] = off(counter("{tup_updated}", "Rows updated in the database")),
  ["postgresql.vector.insert.duration"] = off(counter("s", "Time spent on inserting vectors", "double")),
  ["postgresql.vector.insert.rows"] = off(counter("{vectors}", "Vectors inserted")),
  ["postgresql.vector.search.calls"] = off(counter("{search}", "Searches by similarity, by their measure")),
  ["postgresql.vector.search.duration"] = off(counter("s", "Time spent on searches by similarity", "double")),
  ["postgresql.vector.search.rows_returned"] = off(counter("{rows}", "Rows that searches by similarity returned")),
  ["postgresql.wal.age"] = gauge("s", "Time since a WAL file was archived"),
  ["postgresql.wal.delay"] = off(gauge("s", "Time until the standby confirmed WAL, with its fraction", "double")),
  ["postgresql.wal.lag"] = gauge("s", "Time until the standby confirmed WAL, by what it did with it"),
}
