"""Pillow, through torchvision's first transforms, in a DataLoader: what MoCo's and SimCLR's users run.

Follows MoCo v2's public ``main_moco.py`` and ``moco/loader.py``: its transforms in its order, but for the
flip, which comes after the crop here, and with BYOL's solarize. Differs from torchvision on tensors: hue has
256 steps, and the blur is Pillow's approximation by three box filters.
"""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image, ImageFilter
from torchvision import transforms

from benchmarks.contenders import decode_each, random_crop
from benchmarks.contenders.torch_dataset import passes
from pipelines.views import ViewSpec


class _Blur:
    """MoCo's ``GaussianBlur``."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self._sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(*self._sigma)))


def _load(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _transform(spec: ViewSpec) -> transforms.Compose:
    crop = random_crop(spec)
    strengths = (spec.jitter.brightness, spec.jitter.contrast, spec.jitter.saturation, spec.jitter.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(spec.size, crop.scale, crop.ratio),
            transforms.RandomHorizontalFlip(spec.flip.p),
            transforms.RandomApply([transforms.ColorJitter(*strengths)], spec.jitter.p),
            transforms.RandomGrayscale(spec.grayscale.p),
            transforms.RandomApply([_Blur(spec.blur.sigma)], spec.blur.p),
            transforms.RandomSolarize(round(255 * spec.solarize.threshold), spec.solarize.p),
            transforms.PILToTensor(),
        ]
    )


def _decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


OUTPUTS = {
    "views": lambda work: passes(work, _load, _transform(work.spec)),
    "decode": lambda work: decode_each(work, _decode),
}
