-- Which version of a prompt do people like better? What was stated and what was inferred are never averaged together.
-- `margin` is half of the 95 % interval around `mean`: versions whose intervals overlap may well be equal. One signal has
-- none, and signals that all have weight 0 have no weighted mean.
SELECT
    prompt_name,
    prompt_version,
    type,
    count() AS signals,
    uniqExact(trace_id, span_id) AS responses,
    round(avg(score), 4) AS mean,
    round(if(signals > 1, 1.96 * stddevSampStable(score) / sqrt(signals), NULL), 4) AS margin,
    round(sum(weighted_score) / nullIf(sum(weight), 0), 4) AS weighted_mean,
    round(countIf(score < 0) / signals, 4) AS negative_share
FROM feedback FINAL
WHERE action = 'set' AND score IS NOT NULL AND time > now() - INTERVAL 90 DAY
GROUP BY prompt_name, prompt_version, type
ORDER BY prompt_name, prompt_version, type;
