"""Images as the bytes of a file, by Pillow."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encoded(image: Image.Image, kind: str = "JPEG", *, orientation: int = 0, **how: Any) -> bytes:
    """The bytes of a file of this kind; with an EXIF block where an orientation (1 to 8) is given."""
    if orientation:
        how["exif"] = exif = Image.Exif()
        exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()
