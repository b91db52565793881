"""Encoded bytes to uint8 pixels: headers, decoders, and the record of images that fail."""
