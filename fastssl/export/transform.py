"""The input transform of an encoder: an image to the view that evaluations show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.command.errors import UserError
from pipelines.render.reference import render
from pipelines.views import ViewSpec, draw


@dataclass(frozen=True)
class Transform:
    """Central square of an upright image, resized (bilinear, antialiased) and normalized.

    torchvision's equivalent is ``Resize(size / center_fraction)``, ``CenterCrop(size)``, ``ToTensor()`` and
    ``Normalize(mean, std)``, up to the rounding of the box.
    """

    spec: ViewSpec
    """View without augmentation."""

    def __call__(self, image: Image.Image | np.ndarray | str | Path) -> torch.Tensor:
        """An image to a view, float32 [3, S, S].

        Args:
            image: a PIL image, pixels uint8 [H, W, 3] (RGB), or the path of an image file.

        Raises:
            UserError: it is none of these, or the file cannot be read.
        """
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        rows = draw(
            self.spec,
            seed=0,
            epoch=0,
            samples=np.zeros(1, np.int64),
            heights=np.array([height], np.int32),
            widths=np.array([width], np.int32),
            views=(0,),
        )
        return render(pixels, rows.reshape(-1)[0], self.spec)

    def description(self) -> dict[str, Any]:
        """The transform as plain values."""
        spec = self.spec
        return {
            "size": spec.size,
            "center_fraction": getattr(spec.crop, "fraction", 1.0),
            "interpolation": "bilinear, antialiased",
            "color_space": spec.color_space,
            "range_before_normalization": [0, 1],
            "mean": list(spec.mean),
            "std": list(spec.std),
        }


def _pixels(image: Image.Image | np.ndarray | str | Path) -> np.ndarray:
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as file:
                return _pixels(file)
        except UnidentifiedImageError:
            raise UserError(f"{image} is no image that Pillow reads: give another") from None
        except OSError as error:
            raise UserError(f"cannot read {image} ({error.strerror or error}): give another") from None
    if isinstance(image, Image.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise UserError(f"an image must be a PIL image, uint8 [H, W, 3] or a path, not {kind}: convert it")
