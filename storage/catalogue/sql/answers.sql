-- The scores of the wanted questions; a question in several files counts once.
--   $files   answers of one model under one scoring rule
--   wanted   question_key BLOB, distinct
SELECT question_key, min(scores) AS scores
FROM read_parquet($files, hive_partitioning = false)
SEMI JOIN wanted USING (question_key)
GROUP BY question_key;
