"""Bytes on disk to normalised, channels-last views on the device. Knows nothing of models or losses."""
