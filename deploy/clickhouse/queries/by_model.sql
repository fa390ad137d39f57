-- Which model do people like better?
SELECT
    if(response_model = '', request_model, response_model) AS model,
    provider,
    type,
    count() AS signals,
    uniqExact(trace_id, span_id) AS responses,
    round(avg(score), 4) AS mean,
    round(if(signals > 1, 1.96 * stddevSampStable(score) / sqrt(signals), NULL), 4) AS margin,
    round(sum(weighted_score) / nullIf(sum(weight), 0), 4) AS weighted_mean,
    round(countIf(score < 0) / signals, 4) AS negative_share
FROM feedback FINAL
WHERE action = 'set' AND score IS NOT NULL AND time > now() - INTERVAL 90 DAY
GROUP BY model, provider, type
ORDER BY signals DESC, model, type;
