"""Class taxonomies, mappings and subsets."""
