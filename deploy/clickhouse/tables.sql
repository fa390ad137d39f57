-- The collector's own tables, as its `clickhouse` exporter (0.161) makes them, and `feedback`: one row a signal.
--
--     clickhouse-client --database otel --multiquery < tables.sql
--     clickhouse-client --database otel --multiquery < views.sql
--
-- Whoever comes first makes the first three: this file or the exporter, which then finds them there (or set
-- `create_schema: false`). On a cluster run this file on every node in a database of its own: see distributed.sql.

CREATE TABLE IF NOT EXISTS otel_traces
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested
    (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested
    (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS otel_logs
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    EventName String CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_log_attr_value mapValues(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

-- The exporter's index from a trace's id to its time, which its views fill and trace look-ups read.
CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts
(
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS ttl_only_drop_parts = 1;

-- A signal arrives as a span and as a log event, perhaps twice after a retry, perhaps replaced or withdrawn a month
-- later: the row of a feedback_id with the highest version is what holds. Merges drop the others in time, FINAL at
-- once, so every query reads `feedback FINAL` and leaves out `action = 'retract'`. No PARTITION BY: rows replace
-- each other within a partition only, and a correction may come much later than what it corrects.
CREATE TABLE IF NOT EXISTS feedback
(
    feedback_id String CODEC(ZSTD(1)),
    version UInt64 COMMENT 'twice recorded_at in ns, plus 1 for the span, which knows its own ids',
    recorded_at DateTime64(9) CODEC(Delta, ZSTD(1)),
    service LowCardinality(String),
    carrier_trace_id String COMMENT 'of the feedback span itself, empty where only the log event came',
    carrier_span_id String,

    attributes Map(LowCardinality(String), String) EPHEMERAL COMMENT 'read by the columns below, not kept itself',

    trace_id String DEFAULT attributes['feedback.target.trace_id'] COMMENT 'the rated span, of a preference the chosen one',
    span_id String DEFAULT attributes['feedback.target.span_id'] COMMENT 'empty where the span is not known',
    relation LowCardinality(String) DEFAULT if(mapContains(attributes, 'feedback.rejected.span_ids'), 'chosen', 'rates'),
    rejected_trace_ids Array(String) DEFAULT JSONExtract(attributes['feedback.rejected.trace_ids'], 'Array(String)'),
    rejected_span_ids Array(String) DEFAULT JSONExtract(attributes['feedback.rejected.span_ids'], 'Array(String)'),
    rejected_response_ids Array(String) DEFAULT JSONExtract(attributes['feedback.rejected.response_ids'], 'Array(String)'),
    rejected_models Array(String) DEFAULT JSONExtract(attributes['feedback.rejected.models'], 'Array(String)'),
    rejected_choices Array(Int64) DEFAULT JSONExtract(attributes['feedback.rejected.choices'], 'Array(Int64)')
        COMMENT 'of a preference between choices: -1 where it is the whole response',
    rejected_resolved Bool DEFAULT attributes['feedback.rejected.resolved'] = 'true',
    time DateTime64(9) DEFAULT
        ifNull(parseDateTime64BestEffortOrNull(attributes['feedback.observed_at'], 9, 'UTC'), recorded_at)
        COMMENT 'when it was given' CODEC(Delta, ZSTD(1)),
    action LowCardinality(String) DEFAULT if(attributes['feedback.action'] = '', 'set', attributes['feedback.action']),
    name LowCardinality(String) DEFAULT attributes['feedback.name'],
    score Nullable(Float64) DEFAULT toFloat64OrNull(attributes['feedback.score']) COMMENT '-1 to 1',
    weight Float64 DEFAULT ifNull(toFloat64OrNull(attributes['feedback.weight']), 1) COMMENT '0 to 1',
    weighted_score Nullable(Float64) DEFAULT toFloat64OrNull(attributes['feedback.weighted_score']),
    score_raw Nullable(Float64) DEFAULT toFloat64OrNull(attributes['feedback.score.raw']),
    score_min Nullable(Float64) DEFAULT toFloat64OrNull(attributes['feedback.score.min']),
    score_max Nullable(Float64) DEFAULT toFloat64OrNull(attributes['feedback.score.max']),
    sentiment LowCardinality(String) DEFAULT attributes['feedback.sentiment'],
    source LowCardinality(String) DEFAULT attributes['feedback.source'] COMMENT 'user or system',
    type LowCardinality(String) DEFAULT attributes['feedback.type'] COMMENT 'explicit or implicit',
    label LowCardinality(String) DEFAULT attributes['feedback.label'],
    criterion LowCardinality(String) DEFAULT attributes['feedback.criterion'],
    comment String DEFAULT attributes['feedback.comment'] CODEC(ZSTD(3)),
    improvement String DEFAULT attributes['feedback.improvement'] COMMENT 'JSON' CODEC(ZSTD(3)),
    metadata Map(LowCardinality(String), String) DEFAULT
        mapApply((k, v) -> (substring(k, 19), v), mapFilter((k, v) -> startsWith(k, 'feedback.metadata.'), attributes)),
    user_hash String DEFAULT attributes['feedback.user.hash'],
    rater_hash String DEFAULT attributes['feedback.rater.hash'],
    sampled Nullable(Bool) DEFAULT accurateCastOrNull(nullIf(attributes['feedback.target.sampled'], ''), 'Bool'),
    resolved Bool DEFAULT attributes['feedback.target.resolved'] = 'true',
    scope LowCardinality(String) DEFAULT attributes['feedback.target.scope'],
    choice Nullable(Int32) DEFAULT toInt32OrNull(attributes['feedback.target.choice']),
    document_id String DEFAULT attributes['feedback.target.document.id'],
    tool_call_id String DEFAULT attributes['gen_ai.tool.call.id'],
    provider LowCardinality(String) DEFAULT attributes['gen_ai.provider.name'],
    request_model LowCardinality(String) DEFAULT attributes['gen_ai.request.model'],
    response_model LowCardinality(String) DEFAULT attributes['gen_ai.response.model'],
    response_id String DEFAULT attributes['gen_ai.response.id'],
    prompt_name LowCardinality(String) DEFAULT attributes['gen_ai.prompt.name'],
    prompt_version LowCardinality(String) DEFAULT attributes['gen_ai.prompt.version'],
    conversation_id String DEFAULT attributes['gen_ai.conversation.id'],
    experiment LowCardinality(String) DEFAULT attributes['feature_flag.key'],
    variant LowCardinality(String) DEFAULT attributes['feature_flag.result.variant'],
    tags Array(String) DEFAULT JSONExtract(attributes['spanback.tags'], 'Array(String)'),

    INDEX idx_time time TYPE minmax GRANULARITY 1,
    INDEX idx_span_id span_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY feedback_id;
