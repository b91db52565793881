"""Speed: measured, compared with others, and set against its limits."""
