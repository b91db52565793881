"""COCO: folders of images and the JSON of their objects."""
