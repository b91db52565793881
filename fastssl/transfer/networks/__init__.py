"""Networks of the dense tasks: an encoder with a detector's or a segmenter's head."""
