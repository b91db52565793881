"""What embeddings look like, in a few numbers: those of a batch while training."""
