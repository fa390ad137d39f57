-- The same on a cluster. On every node:
--
--     clickhouse-client --database otel_shard --multiquery < tables.sql       the node's own part
--     clickhouse-client --database otel --multiquery < distributed.sql        the tables over all parts
--     clickhouse-client --database otel --multiquery < views.sql              unchanged
--
-- The collector writes to database `otel` with `create_schema: false`, the queries read there, unchanged. `{cluster}`
-- is the server's macro; for replicas, make the tables of tables.sql with Replicated engines of the same kind.

CREATE TABLE IF NOT EXISTS otel_traces AS otel_shard.otel_traces
ENGINE = Distributed('{cluster}', otel_shard, otel_traces, cityHash64(TraceId));

CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts AS otel_shard.otel_traces_trace_id_ts
ENGINE = Distributed('{cluster}', otel_shard, otel_traces_trace_id_ts, cityHash64(TraceId));

CREATE TABLE IF NOT EXISTS otel_logs AS otel_shard.otel_logs
ENGINE = Distributed('{cluster}', otel_shard, otel_logs, cityHash64(TraceId));

-- By feedback_id, so that all rows of a signal meet on one shard, where they can replace each other.
CREATE TABLE IF NOT EXISTS feedback AS otel_shard.feedback
ENGINE = Distributed('{cluster}', otel_shard, feedback, cityHash64(feedback_id));
