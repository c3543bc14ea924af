"""Archived days as Parquet (docs/parquet.md). Needs the extra `parquet`: pyarrow and DuckDB."""
