"""The lake: Parquet files under one fsspec URL."""
