-- For each weighted prompt and wanted layer the shard that is read: a prompt may be in several.
-- Only the narrow columns are read.
--   $files   shards of one model and site
--   $layers  wanted layers
--   weights  prompt_key BLOB, …
CREATE TABLE chosen AS
SELECT prompt_key, layer, min(file_index) AS shard
FROM read_parquet($files, hive_partitioning = false)
SEMI JOIN weights USING (prompt_key)
WHERE list_contains($layers, layer)
GROUP BY prompt_key, layer;
