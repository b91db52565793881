"""A picture, and each operation on it alone and made certain, for the tests of contenders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from pipelines.ops import Flip, GaussianBlur, RandomResizedCrop
from pipelines.render import reference
from pipelines.views import ViewSpec, draw

SIDE, SIZE = 96, 48  # pixels of the picture and of its views
PLAIN = ViewSpec(
    size=SIZE,
    crop=RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    flip=Flip(p=0.0),
    blur=GaussianBlur(sigma=(2.0, 2.0)),
)
CERTAIN: dict[str, ViewSpec] = {"plain": PLAIN} | {
    name: replace(PLAIN, **{name: replace(getattr(PLAIN, name), p=1.0)})
    for name in ("flip", "grayscale", "blur", "solarize")
}
"""The plain view with one operation each."""


def picture(period: int) -> np.ndarray:
    """Soft patches of medium colors around a light one, and waves to blur, uint8 [SIDE, SIDE, 3]."""
    patches = np.random.default_rng(5).uniform(60, 150, (4, 4, 3))
    patches[1, 2] = 240
    small = Image.fromarray(patches.astype(np.uint8))
    waves = np.sin(2 * np.pi * np.arange(SIDE) / period)
    large = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
    return (large + 20 * (waves[:, None] * waves)[..., None]).round().clip(0, 255).astype(np.uint8)


def reference_view(pixels: np.ndarray, spec: ViewSpec) -> np.ndarray:
    """The reference's view of a picture, float64 [3, S, S] in levels."""
    sizes = np.array([SIDE], np.int32)
    table = draw(spec, seed=0, epoch=0, samples=np.zeros(1, int), heights=sizes, widths=sizes, views=[0])
    return 255 * reference.render_colors(pixels, table[0, 0], spec.size).double().numpy()


def assert_operation(views: np.ndarray, pixels: np.ndarray, operation: str, *, exact: bool) -> None:
    """Assert that views [..., 3, S, S] show an operation, on average to one level, or two where not exact."""
    wanted, plain = (reference_view(pixels, CERTAIN[name]) for name in (operation, "plain"))
    difference = np.abs(views - wanted)
    if operation == "solarize":  # next to the threshold a level more is another color
        difference = difference[..., np.abs(plain - 128).min(0) > 5]
    assert difference.mean() < (1 if exact else 2)
    if operation != "plain":  # and it would not have passed without
        assert np.abs(plain - wanted).mean() > 4
