-- Can what users do stand in for what they say? Over responses that have both: how often the two point the same way,
-- and how they correlate (NULL while either never varies). More responses have implicit signals only.
SELECT
    implicit.name AS implicit_name,
    count() AS responses_with_both,
    round(avg(implicit.mean), 4) AS implicit_mean,
    round(avg(explicit.mean), 4) AS explicit_mean,
    round(countIf(sign(implicit.mean) = sign(explicit.mean)) / responses_with_both, 4) AS same_direction,
    round(if(isFinite(corrStable(implicit.mean, explicit.mean)), corrStable(implicit.mean, explicit.mean), NULL), 4)
        AS correlation
FROM
(
    SELECT trace_id, span_id, name, sum(weighted_score) / nullIf(sum(weight), 0) AS mean
    FROM feedback FINAL
    WHERE action = 'set' AND type = 'implicit' AND weighted_score IS NOT NULL AND span_id != '' AND time > now() - INTERVAL 90 DAY
    GROUP BY trace_id, span_id, name
) AS implicit
GLOBAL INNER JOIN
(
    SELECT trace_id, span_id, sum(weighted_score) / nullIf(sum(weight), 0) AS mean
    FROM feedback FINAL
    WHERE action = 'set' AND type = 'explicit' AND weighted_score IS NOT NULL AND span_id != '' AND time > now() - INTERVAL 90 DAY
    GROUP BY trace_id, span_id
) AS explicit ON implicit.trace_id = explicit.trace_id AND implicit.span_id = explicit.span_id
GROUP BY implicit_name
ORDER BY implicit_name;
