"""Parquet files with images in a column, as the Hugging Face hub has them."""
