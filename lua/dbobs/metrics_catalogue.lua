--- What each metric of the OpenTelemetry Collector's PostgreSQL receiver is: unit, kind, type. Names, units and kinds are
--- the receiver's; what computes them stands in pipelines/collectors/metrics.lua.

-- kind: "counter" only rises, "sum" goes up and down, "gauge" is a reading. type: "int" unless it says "double".
return {
  ["postgresql.backends"] = { unit = "1", kind = "sum", description = "Backends attached to the database" },
  ["postgresql.bgwriter.buffers.allocated"] = { unit = "{buffers}", kind = "counter", description = "Buffers allocated" },
  ["postgresql.bgwriter.buffers.writes"] = { unit = "{buffers}", kind = "counter", description = "Buffers written, by who wrote them" },
  ["postgresql.bgwriter.checkpoint.count"] = { unit = "{checkpoints}", kind = "counter", description = "Checkpoints, by what began them" },
  ["postgresql.bgwriter.duration"] = { unit = "ms", kind = "counter", type = "double", description = "Time spent on checkpoints" },
  ["postgresql.bgwriter.maxwritten"] = { unit = "1", kind = "counter", description = "Cleaning scans that stopped at their page limit" },
  ["postgresql.blocks_read"] = { unit = "1", kind = "counter", description = "Blocks read or found in memory, by kind of storage" },
  ["postgresql.commits"] = { unit = "1", kind = "counter", description = "Transactions committed" },
  ["postgresql.connection.max"] = { unit = "{connections}", kind = "gauge", description = "Connections that the server allows" },
  ["postgresql.database.count"] = { unit = "{databases}", kind = "sum", description = "Databases that are collected" },
  ["postgresql.db_size"] = { unit = "By", kind = "sum", description = "Size of the database on disk" },
  ["postgresql.index.scans"] = { unit = "{scans}", kind = "counter", description = "Scans begun on the index" },
  ["postgresql.index.size"] = { unit = "By", kind = "gauge", description = "Size of the index on disk" },
  ["postgresql.operations"] = { unit = "1", kind = "counter", description = "Rows changed, by operation" },
  ["postgresql.replication.data_delay"] = { unit = "By", kind = "gauge", description = "WAL that the standby has not replayed" },
  ["postgresql.rollbacks"] = { unit = "1", kind = "counter", description = "Transactions rolled back" },
  ["postgresql.rows"] = { unit = "1", kind = "sum", description = "Estimated rows of the table, by state" },
  ["postgresql.table.count"] = { unit = "{table}", kind = "sum", description = "User tables in the database" },
  ["postgresql.table.size"] = { unit = "By", kind = "sum", description = "Size of the table on disk" },
  ["postgresql.table.vacuum.count"] = { unit = "{vacuum}", kind = "counter", description = "Manual vacuums of the table" },
  ["postgresql.wal.age"] = { unit = "s", kind = "gauge", description = "Time since a WAL file was archived" },
  ["postgresql.wal.lag"] = { unit = "s", kind = "gauge", description = "Time until the standby confirmed WAL, by what it did with it" },
}
