"""The catalogue: DuckDB over the files of the lake."""
