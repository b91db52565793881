"""Textures of labeled images: 512 that are made here, or the user's own (the paper takes DTD's).

All are square and repeat; a user's image is the middle of it, so that its edges show where it does.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.decode.header import IMAGE_EXTENSIONS
from pipelines.keys import uniforms
from pipelines.sources.service_files import is_service

_COUNT = 512
_STREAM = 23  # never renumber
_WAVES = 10


class Textures(ABC):
    """Square images by position, each made once."""

    version = ""
    """Text that changes with the textures; "" for the built-in ones."""

    def __init__(self, side: int, count: int) -> None:
        self.side, self._count = side, count  # pixels, images
        self._made: dict[int, np.ndarray] = {}

    def take(self, position: int) -> np.ndarray:
        """uint8 [side, side, 3]; ``position`` is taken modulo their number."""
        position %= self._count
        if position not in self._made:
            self._made[position] = self._make(position)
        return self._made[position]

    @abstractmethod
    def _make(self, position: int) -> np.ndarray: ...


class BuiltInTextures(Textures):
    """Stripes, checks, dots, rings, bricks, noise, blots and weaves in colors of their own."""

    def __init__(self, side: int) -> None:
        super().__init__(side, _COUNT)

    def _make(self, position: int) -> np.ndarray:
        return make_texture(position, self.side)


class FolderTextures(Textures):
    """The images below a folder, at all depths, but hidden ones, in the order of their paths; each is decoded
    once.

    Raises:
        UserError: no such folder, no images in it, or, when it is taken, one that cannot be decoded.
    """

    def __init__(self, folder: Path, side: int) -> None:
        paths = sorted(folder.rglob("*")) if folder.is_dir() else []
        self._paths = [p for p in paths if p.suffix.lower() in IMAGE_EXTENSIONS and not is_service(p.name)]
        if not self._paths:
            what = "no images in it" if folder.is_dir() else "no such folder"
            raise UserError(f"textures={visible(str(folder))}: {what}; give a folder of images, as DTD's")
        names = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in self._paths)
        self.version = hashlib.blake2b(names.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        super().__init__(side, len(self._paths))

    def _make(self, position: int) -> np.ndarray:
        path = self._paths[position]
        try:
            return _middle(decode(path.read_bytes()), self.side)
        except (OSError, UndecodableImageError) as error:
            name = visible(str(path))
            raise UserError(f"cannot read the texture {name} ({error}): remove it") from None


def _middle(pixels: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of an image, at another size."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = Image.fromarray(pixels[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def make_texture(position: int, side: int) -> np.ndarray:
    """One of the built-in textures, uint8 [side, side, 3]."""
    u = uniforms(np.array([_STREAM, position]), 64)
    rows, columns = np.meshgrid(*2 * [(np.arange(side) + 0.5) / side], indexing="ij")
    waves = _waves(u[16:], rows, columns)
    a, b = 1 + int(8 * u[0]), 1 + int(8 * u[1])  # whole periods, so that the texture repeats
    bent_x, bent_y = columns + 0.06 * u[2] * waves, rows + 0.06 * u[2] * np.roll(waves, side // 3, 0)
    x, y = np.sin(2 * np.pi * a * bent_x), np.sin(2 * np.pi * b * bent_y)
    kind = position % 8
    if kind == 0:  # stripes, slanted or straight
        slant = int(3 * u[3]) - 1
        field = np.sin(2 * np.pi * (a * bent_x + slant * b * bent_y))
    elif kind == 1:  # checks
        field = x * y * 3
    elif kind == 2:  # dots
        field = np.cos(2 * np.pi * a * bent_x) + np.cos(2 * np.pi * a * bent_y) - 0.6 - u[3]
    elif kind == 3:  # rings
        field = np.sin(2 * np.pi * (1 + a / 2) * (x / a + y / b + 0.5 * waves))
    elif kind == 4:  # bricks
        shifted = columns * a + 0.5 * (np.floor(rows * 2 * b) % 2)
        joint = np.minimum(shifted % 1, (rows * 2 * b) % 1)
        field = 12 * (joint - 0.12)
    elif kind == 5:  # noise
        field = waves
    elif kind == 6:  # blots
        field = 5 * (waves - 0.5 + u[3])
    else:  # a weave
        over = np.sign(np.sin(np.pi * 2 * a * columns) * np.sin(np.pi * 2 * a * rows))
        field = np.where(over > 0, np.sin(np.pi * 8 * a * columns), np.sin(np.pi * 8 * a * rows))
    share = np.clip(0.5 + field * (0.5 + 2 * u[4]), 0, 1)[..., None]
    first, second = u[5:8], u[8:11]
    first, second = (
        0.4 * color + 0.6 * color.mean() for color in (first, second)
    )  # muted, as DTD's mostly are
    grain = 1 + 0.15 * u[11] * np.roll(waves, side // 2, 1)[..., None]
    return (255 * np.clip((first * (1 - share) + second * share) * grain, 0, 1)).astype(np.uint8)


def _waves(u: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Noise that repeats: waves of whole frequencies, the finer the weaker; of about unit variance."""
    total = np.zeros_like(rows)
    power = 0.0
    for wave in range(_WAVES):
        a, b, phase = u[3 * wave : 3 * wave + 3].tolist()
        across, down = round(16 * a - 8), round(16 * b - 8)
        weight = 1 / (1 + np.hypot(across, down))
        total += weight * np.cos(2 * np.pi * (across * columns + down * rows + phase))
        power += weight**2 / 2
    return total / np.sqrt(power)
