-- Side by side, which model was chosen over which? From `record_preference`.
SELECT
    if(response_model = '', request_model, response_model) AS chosen_model,
    rejected_model,
    count() AS times
FROM feedback FINAL
ARRAY JOIN rejected_models AS rejected_model
WHERE action = 'set' AND relation = 'chosen' AND time > now() - INTERVAL 90 DAY
GROUP BY chosen_model, rejected_model
ORDER BY times DESC, chosen_model, rejected_model;
