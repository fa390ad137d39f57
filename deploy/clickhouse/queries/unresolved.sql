-- Feedback whose response is not known, by the service that recorded it: it says that an id was rated too late or in
-- another process, and nothing else can tell what was rated. Day by day, newest first.
SELECT
    toDate(toDateTime(time, 'UTC')) AS day,
    service,
    count() AS signals,
    countIf(NOT resolved) AS unresolved,
    round(unresolved / signals, 4) AS unresolved_share
FROM feedback FINAL
WHERE action = 'set' AND time > now() - INTERVAL 90 DAY
GROUP BY day, service
ORDER BY day DESC, service;
