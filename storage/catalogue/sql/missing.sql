-- Wanted (prompt_key, layer) pairs against the shards of one model and site: the prompts that
-- lack at least one layer.
--   $files   shards to look in
--   wanted   prompt_key BLOB, distinct
--   layers   layer SMALLINT, distinct
SELECT DISTINCT w.prompt_key
FROM (SELECT wanted.prompt_key, layers.layer FROM wanted CROSS JOIN layers) AS w
ANTI JOIN read_parquet($files, hive_partitioning = false) AS shards
    ON shards.prompt_key = w.prompt_key AND shards.layer = w.layer;
