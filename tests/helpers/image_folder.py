"""Folders of small JPEGs whose class is their color, for the tests of evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg

COLORS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def write_colors(
    folder: Path, count: int, *, side: int = 20, seed: int = 0, names: tuple[str, ...] = tuple(COLORS)
) -> None:
    """``count`` images per class, the class's color with noise, in class folders."""
    generator = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.array(COLORS[name]) + generator.normal(0, 25, (side, side, 3))
            image = pixels.clip(0, 255).astype(np.uint8)
            (folder / name / f"{number:03d}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=95))
