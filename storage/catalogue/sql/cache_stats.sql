-- What the shards of one model and site hold.
--   $files   the shards
SELECT count(DISTINCT prompt_key) AS prompts, list(DISTINCT layer ORDER BY layer) AS layers
FROM read_parquet($files, hive_partitioning = false);
