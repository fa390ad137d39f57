-- Does it get better? Each week beside the one before it with signals; weeks begin on Monday, in UTC.
SELECT
    week,
    name,
    type,
    signals,
    round(mean, 4) AS mean,
    round(weighted_mean, 4) AS weighted_mean,
    round(mean - lagInFrame(toNullable(mean)) OVER (PARTITION BY name, type ORDER BY week), 4) AS change
FROM
(
    SELECT
        toStartOfWeek(toDateTime(time, 'UTC'), 1) AS week,
        name,
        type,
        count() AS signals,
        avg(score) AS mean,
        sum(weighted_score) / nullIf(sum(weight), 0) AS weighted_mean
    FROM feedback FINAL
    WHERE action = 'set' AND score IS NOT NULL AND time > now() - INTERVAL 365 DAY
    GROUP BY week, name, type
)
ORDER BY name, type, week;
