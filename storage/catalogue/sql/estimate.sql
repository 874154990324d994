-- Every method's direction at one layer: the weighted sum of its prompts' activations.
--   $files             the shards that `chosen` names for the layer, in its order
--   $layer             the layer
--   $width             elements of a vector
--   methods            method VARCHAR, name VARCHAR: `weight 1`, `weight 2`, …
--   weights_by_prompt  prompt_key BLOB, one column of weights per name
--   chosen             prompt_key BLOB, layer SMALLINT, shard BIGINT
WITH
weighted AS MATERIALIZED (
    SELECT weights_by_prompt.*, dense_rank() OVER (ORDER BY chosen.shard) - 1 AS file_index
    FROM chosen
    INNER JOIN weights_by_prompt USING (prompt_key)
    WHERE chosen.layer = $layer
),

-- The shards stream through on the left; the right side is the one kept in memory.
activations AS (
    SELECT shards.vector, COLUMNS('weight .*')
    FROM read_parquet($files, hive_partitioning = false) AS shards
    INNER JOIN weighted
        ON weighted.prompt_key = shards.prompt_key AND weighted.file_index = shards.file_index
    WHERE shards.layer = $layer
),

-- Each vector is taken apart once for all methods. A type of 16 bits lets DuckDB find the sums of
-- a position by an index instead of a hash.
elements AS (
    SELECT
        COLUMNS('weight .*'),
        unnest(vector)::DOUBLE AS value,
        unnest(range(1, $width + 1)::USMALLINT[]) AS position
    FROM activations
),

-- The weight of a prompt that is not in a method is NULL, which sums skip.
totals AS (
    SELECT position, fsum(COLUMNS('weight .*') * value)
    FROM elements
    GROUP BY position
),

-- fsum compensates rounding and FLOAT drops the rest, so another cut into shards changes at
-- most the last bit, where the exact sum is halfway between two floats. What FLOAT cannot hold
-- becomes infinite, for the caller to refuse by method and layer; a cast would fail without them.
rounded AS (
    SELECT
        position,
        name,
        CASE WHEN abs(total) < 3.4028235e38 THEN total::FLOAT ELSE 'Infinity'::FLOAT END AS total
    FROM (UNPIVOT totals ON COLUMNS('weight .*') INTO NAME name VALUE total)
),

directions AS (
    SELECT
        name,
        list(total ORDER BY position) AS direction,
        sqrt(sum(total::DOUBLE * total::DOUBLE ORDER BY position)) AS norm
    FROM rounded
    GROUP BY name
)

SELECT methods.method, $layer::SMALLINT AS layer, directions.direction, directions.norm
FROM directions
INNER JOIN methods USING (name)
ORDER BY methods.method;
