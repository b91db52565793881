"""A made-up VOCdevkit/VOC2007, whose objects are squares of a color."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg

from tests.helpers.image_folder import COLORS

NAMES = tuple(sorted(COLORS))
HEIGHT, WIDTH, SIDE = 32, 48, 16

Square = tuple[str, int, int, bool]  # class, left, top, difficult


def write_voc(folder: Path, trainval: int = 24, test: int = 16, seed: int = 0) -> dict[str, list[Square]]:
    """Write a year and return the squares of each image; every sixth is difficult, some images have none."""
    generator = np.random.default_rng(seed)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    squares: dict[str, list[Square]] = {}
    count = 0
    for number in range(trainval + test):
        name = f"{number:06d}"
        pixels = generator.integers(100, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        squares[name] = []
        colors = [NAMES[place] for place in generator.permutation(len(NAMES))[: number % 4]]
        for place, color in enumerate(colors):
            left, top = SIDE * place, int(generator.integers(0, HEIGHT - SIDE))
            pixels[top : top + SIDE, left : left + SIDE] = COLORS[color]
            count += 1
            squares[name].append((color, left, top, count % 6 == 0))
        path = folder / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(pixels, quality=95))
        (folder / "Annotations" / f"{name}.xml").write_text(annotation(squares[name]))
    names = list(squares)
    for split, listed in (("trainval", names[:trainval]), ("test", names[trainval:])):
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(listed) + "\n")
    return squares


def annotation(squares: list[Square]) -> str:
    """VOC's XML, which counts pixels from 1 and has the last pixel of a box within it."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>"
        f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{left + SIDE}</xmax><ymax>{top + SIDE}</ymax>"
        "</bndbox><part><name>head</name></part></object>\n"
        for name, left, top, difficult in squares
    )
    return f"<annotation><folder>VOC2007</folder>\n{objects}</annotation>\n"
