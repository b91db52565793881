"""uint8 pixels to finished views: the reference (torch), and the renderers that follow it."""
