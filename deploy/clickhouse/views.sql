-- Fill `feedback` from what the exporter writes. A signal that came in both forms is one row: see tables.sql.
-- Views see what is written after they were made; for what is there already, run their SELECT once with
-- `INSERT INTO feedback (...)` before it, as often as you like.

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId;

CREATE MATERIALIZED VIEW IF NOT EXISTS feedback_from_traces TO feedback AS
SELECT
    SpanAttributes['feedback.id'] AS feedback_id,
    toUInt64(toUnixTimestamp64Nano(Timestamp)) * 2 + 1 AS version,
    Timestamp AS recorded_at,
    ServiceName AS service,
    TraceId AS carrier_trace_id,
    SpanId AS carrier_span_id,
    SpanAttributes AS attributes
FROM otel_traces
WHERE SpanAttributes['feedback.id'] != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS feedback_from_logs TO feedback AS
SELECT
    LogAttributes['feedback.id'] AS feedback_id,
    toUInt64(toUnixTimestamp64Nano(Timestamp)) * 2 AS version,
    Timestamp AS recorded_at,
    ServiceName AS service,
    '' AS carrier_trace_id,
    '' AS carrier_span_id,
    LogAttributes AS attributes
FROM otel_logs
WHERE LogAttributes['feedback.id'] != '';
