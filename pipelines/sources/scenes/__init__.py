"""Built-in images: ray-marched scenes with known factors."""
