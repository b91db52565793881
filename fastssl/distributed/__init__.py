"""Several processes: how they start, meet and exchange tensors."""
