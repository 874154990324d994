-- The files that hold any of the wanted keys.
--   $files    files to look in
--   {column}  name of the key's column, BLOB
--   wanted    the keys, in a column of that name
SELECT DISTINCT filename
FROM read_parquet($files, filename = true, hive_partitioning = false)
SEMI JOIN wanted USING ({column});
