-- Where do raters disagree, and how much is a signal worth then? `alpha` is Krippendorff's for interval data: 1 where
-- all agree, 0 where they agree no more than by chance. Only responses with two raters or more say anything.
WITH
    rated AS
    (
        -- One score a rater: the last that they gave.
        SELECT
            name,
            criterion,
            trace_id,
            span_id,
            if(rater_hash = '', user_hash, rater_hash) AS rater,
            argMax(score, version) AS rating
        FROM feedback FINAL
        WHERE action = 'set' AND score IS NOT NULL AND span_id != '' AND rater != '' AND time > now() - INTERVAL 90 DAY
        GROUP BY name, criterion, trace_id, span_id, rater
    ),
    responses AS
    (
        SELECT
            name,
            criterion,
            count() AS raters,
            sum(rating) AS total,
            sum(rating * rating) AS squares,
            max(rating) - min(rating) AS spread,
            2 * (raters * squares - total * total) / (raters - 1) AS differences
        FROM rated
        GROUP BY name, criterion, trace_id, span_id
        HAVING raters > 1
    )
SELECT
    name,
    criterion,
    count() AS rated_responses,
    sum(raters) AS ratings,
    round(countIf(spread = 0) / rated_responses, 4) AS agreed_share,
    round(avg(spread), 4) AS mean_spread,
    round(1 - (sum(differences) / ratings)
        / nullIf(2 * (ratings * sum(squares) - sum(total) * sum(total)) / (ratings * (ratings - 1)), 0), 4) AS alpha
FROM responses
GROUP BY name, criterion
ORDER BY name, criterion;
