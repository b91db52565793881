"""Images that small networks learn from in seconds: eight gray patterns of any brightness and contrast."""

from pathlib import Path

import numpy as np
import simplejpeg

SIDE = 32  # pixels
PATTERNS = ("columns", "rows", "diagonals", "checks", "rings", "rays", "dots", "grid")


def write_textures(folder: Path, train: int, test: int) -> None:
    """``train`` and ``test`` JPEGs of each pattern; brightness and phase hide it from untrained networks."""
    for seed, (split, count) in enumerate({"train": train, "test": test}.items()):
        generator = np.random.default_rng(seed)
        for name in PATTERNS:
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = _image(name, generator)
                (folder / split / name / f"{i:03d}.jpg").write_bytes(
                    simplejpeg.encode_jpeg(pixels, quality=90)
                )


def _image(name: str, generator: np.random.Generator) -> np.ndarray:
    """[SIDE, SIDE, 3] uint8."""
    pattern = _pattern(name, generator)
    contrast = generator.choice([-1, 1]) * generator.uniform(20, 60)
    gray = generator.uniform(60, 200) + contrast * pattern + generator.normal(0, 12, (SIDE, SIDE))
    return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _pattern(name: str, generator: np.random.Generator) -> np.ndarray:
    """[SIDE, SIDE] about -1 to 1, of random period, phase and center."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    period = generator.uniform(6, 10)
    (x0, y0), pitch = generator.uniform(0, period, 2), 2 * np.pi / period
    center_x, center_y = generator.uniform(8, SIDE - 8, 2)
    slope = generator.choice([-1, 1])
    across, down = np.sin(pitch * (x - x0)), np.sin(pitch * (y - y0))
    patterns = {
        "columns": across,
        "rows": down,
        "diagonals": np.sin(pitch * ((x + slope * y) / np.sqrt(2) - x0)),
        "checks": 1.4 * across * down,
        "rings": np.sin(pitch * (np.hypot(x - center_x, y - center_y) - x0)),
        "rays": np.sin(8 * np.arctan2(y - center_y, x - center_x) + x0),
        "dots": np.where((across > 0) & (down > 0), 1.0, -0.33),
        "grid": np.where((across > 0.6) | (down > 0.6), 1.0, -0.5),
    }
    return patterns[name]
