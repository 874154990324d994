-- One view over the files of a table: {view} reads {files}, which may still be growing.
CREATE VIEW {view} AS
SELECT {columns}
FROM read_parquet({files}, hive_partitioning = false);
