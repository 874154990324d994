-- One row per weighted prompt, one column per method, NULL where the prompt is not in the method.
-- The columns are numbered, because names of columns know no upper and lower case.
--   weights  method VARCHAR, prompt_key BLOB, weight DOUBLE
CREATE OR REPLACE TABLE methods AS
SELECT method, 'weight ' || row_number() OVER (ORDER BY method) AS name
FROM (SELECT DISTINCT method FROM weights);

CREATE OR REPLACE TABLE weights_by_prompt AS
PIVOT (SELECT name, prompt_key, weight FROM weights INNER JOIN methods USING (method))
ON name
USING sum(weight)
GROUP BY prompt_key;
