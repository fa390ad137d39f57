-- The answers that people disliked most, with what they said. Messages are there where content is captured.
SELECT
    worst.trace_id AS trace_id,
    worst.span_id AS span_id,
    round(badness, 4) AS badness,
    signals,
    prompt_name,
    prompt_version,
    model,
    labels,
    comments,
    improvements,
    call.Timestamp AS called_at,
    call.SpanAttributes['gen_ai.input.messages'] AS input_messages,
    call.SpanAttributes['gen_ai.output.messages'] AS output_messages
FROM
(
    SELECT
        trace_id,
        span_id,
        -sum(weighted_score) AS badness,
        count() AS signals,
        any(prompt_name) AS prompt_name,
        any(prompt_version) AS prompt_version,
        any(if(response_model = '', request_model, response_model)) AS model,
        arraySort(groupUniqArrayIf(label, label != '')) AS labels,
        arraySort(groupUniqArrayIf(comment, comment != '')) AS comments,
        arraySort(groupUniqArrayIf(improvement, improvement != '')) AS improvements
    FROM feedback FINAL
    WHERE action = 'set' AND relation = 'rates' AND type = 'explicit' AND span_id != '' AND time > now() - INTERVAL 30 DAY
    GROUP BY trace_id, span_id
    HAVING badness > 0
    ORDER BY badness DESC, trace_id, span_id
    LIMIT 50
) AS worst
GLOBAL ANY LEFT JOIN
(
    SELECT TraceId, SpanId, Timestamp, SpanAttributes
    FROM otel_traces
    WHERE Timestamp > now() - INTERVAL 60 DAY AND SpanAttributes['gen_ai.operation.name'] != ''
) AS call ON worst.trace_id = call.TraceId AND worst.span_id = call.SpanId
ORDER BY badness DESC, trace_id, span_id;
