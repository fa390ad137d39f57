-- Which variant of an experiment do people like better?
SELECT
    experiment,
    variant,
    type,
    count() AS signals,
    uniqExact(trace_id, span_id) AS responses,
    round(avg(score), 4) AS mean,
    round(if(signals > 1, 1.96 * stddevSampStable(score) / sqrt(signals), NULL), 4) AS margin,
    round(sum(weighted_score) / nullIf(sum(weight), 0), 4) AS weighted_mean
FROM feedback FINAL
WHERE action = 'set' AND score IS NOT NULL AND experiment != '' AND time > now() - INTERVAL 90 DAY
GROUP BY experiment, variant, type
ORDER BY experiment, variant, type;
