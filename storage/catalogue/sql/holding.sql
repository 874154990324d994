-- The shards that hold any of the wanted prompts.
--   $files   shards to look in
--   wanted   prompt_key BLOB
SELECT DISTINCT filename
FROM read_parquet($files, filename = true, hive_partitioning = false)
SEMI JOIN wanted USING (prompt_key);
