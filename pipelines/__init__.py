"""Bytes on disk to normalized, channels-last views on the device. Knows nothing of models or losses."""
