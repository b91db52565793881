"""Shards and Parquet files in object storage or on the web, each fetched whole into a bounded cache."""
