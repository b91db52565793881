"""Images, rows and statistics that the tests of operations on views share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_sample_images
from torchvision.transforms.functional import to_tensor

from pipelines.ops import (
    KINDS,
    NEUTRAL,
    ChannelMean,
    ColorJitter,
    Cutout,
    Flip,
    GaussianBlur,
    Grayscale,
    Op,
    RandomResizedCrop,
    Shift,
    Solarize,
)
from pipelines.views import ViewSpec, draw

TOLERANCE = 1e-5  # in [0, 1]
DRAWS = 20_000
SIGNIFICANCE = 1e-3  # every seed is fixed, so that a test passes always or never

# Every operation at work. One that is not listed here is so with p = 1.
_AT_WORK: dict[str, Op] = {
    "crop": RandomResizedCrop(),
    "flip": Flip(p=0.5),
    "jitter": ColorJitter(p=0.8, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1),
    "grayscale": Grayscale(p=0.2),
    "blur": GaussianBlur(p=0.5),
    "solarize": Solarize(p=0.2),
    "channel_mean": ChannelMean(p=0.25),
    "shift": Shift(padding=0.125),
    "cutout": Cutout(size=0.25),
}
_AT_WORK |= {name: kinds[0](**{"p": 1.0}) for name, kinds in KINDS.items() if name not in _AT_WORK}
EVERYTHING = ViewSpec(size=64, **_AT_WORK)  # type: ignore[arg-type]


@cache
def photographs() -> tuple[np.ndarray, ...]:
    """scikit-learn's two photographs, uint8 [427, 640, 3]."""
    return tuple(load_sample_images().images)


def as_image(pixels: np.ndarray) -> torch.Tensor:
    """Float32 [3, H, W] in [0, 1]."""
    return to_tensor(pixels.copy())


@cache
def images() -> dict[str, torch.Tensor]:
    """Float images [3, H, W] in [0, 1] with everything that has broken a color operation."""
    china, flower = (as_image(pixels) for pixels in photographs())
    random = torch.Generator().manual_seed(0)
    levels = torch.arange(0, 256, 15) / 255
    cube = torch.cartesian_prod(levels, levels, levels)  # a grid of all colors, 18**3 of them
    gray = torch.rand(1, 33, 17, generator=random).expand(3, -1, -1).contiguous()
    pure = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T.reshape(3, 2, 4)
    return {
        "china": china[:, 40:200, 100:300],
        "flower": flower[:, 100:260, 200:350],
        "random": torch.rand(3, 40, 31, generator=random),
        "cube": cube.T.reshape(3, 18, 18 * 18),
        "gray": gray,
        "nearly gray": (gray + 1e-7 * torch.rand(3, 33, 17, generator=random)).clamp(0, 1),
        "black": torch.zeros(3, 8, 8),
        "white": torch.ones(3, 8, 8),
        "pure colors": pure,
        "one pixel": torch.tensor([0.2, 0.9, 0.4]).view(3, 1, 1),
        "row": torch.rand(3, 1, 20, generator=random),
    }


IMAGES = list(images())


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.dtype == torch.float32
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs.double()).abs().max().item() <= tolerance


def lab_in_float64(image: torch.Tensor) -> np.ndarray:
    """CIE L*a*b* of sRGB from the primaries, the white point and the definitions alone. [3, H, W]."""

    def xyz_of(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    white = xyz_of(0.3127, 0.3290)
    primaries = np.stack([xyz_of(0.64, 0.33), xyz_of(0.30, 0.60), xyz_of(0.15, 0.06)], axis=1)
    matrix = primaries * np.linalg.solve(primaries, white)
    rgb = image.double().numpy()
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = np.tensordot(matrix, linear, 1) / white[:, None, None]

    def f(t: np.ndarray) -> np.ndarray:
        return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)

    return np.stack([116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))])


def plain_row(height: int, width: int) -> np.void:
    """A row that shows a whole image of this size and changes no color."""
    return table_of(box(0, 0, height, width))[0, 0]


def table_of(*rows: dict[str, Any]) -> np.ndarray:
    """VIEW_PARAMETERS [1, B]; a row changes nothing but what is said, such as ``box``."""
    table = np.full((1, len(rows)), NEUTRAL)
    for place, fields in enumerate(rows):
        for name, value in fields.items():
            table[name][0, place] = value
    return table


def box(top: int, left: int, height: int, width: int) -> dict[str, Any]:
    return {"top": top, "left": left, "height": height, "width": width}


def draw_rows(
    spec: ViewSpec,
    sizes: Sequence[tuple[int, ...]],
    *,
    seed: int = 0,
    epoch: int = 0,
    views: Sequence[int] = (0,),
) -> np.ndarray:
    """VIEW_PARAMETERS [K, B] of samples 0, 1, ... of these heights and widths."""
    heights, widths = np.array(sizes, np.int32).T
    samples = np.arange(len(sizes))
    return draw(spec, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths, views=views)


def draw_many(
    spec: ViewSpec, *, seed: int = 0, epoch: int = 0, view: int = 0, size: tuple[int, int] = (375, 500)
) -> np.ndarray:
    """VIEW_PARAMETERS [DRAWS] of samples 0, 1, ..., all of one height and width."""
    return draw_rows(spec, [size] * DRAWS, seed=seed, epoch=epoch, views=[view])[0]


def assert_rate(happened: np.ndarray, p: float) -> None:
    assert stats.binomtest(int(happened.sum()), len(happened), p).pvalue > SIGNIFICANCE


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert values.min() >= np.float32(low)
    assert values.max() <= np.float32(high)
    assert stats.kstest((values - low) / (high - low), "uniform").pvalue > SIGNIFICANCE
