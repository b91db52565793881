"""What a view is (``ViewSpec``), and the draw of its random parameters (``draw``).

A view is a pure function of (seed, epoch, sample, view). ``draw`` turns these keys into one row of
``VIEW_PARAMETERS``; renderers only apply rows. Every parameter has its own stream,
hash(seed, epoch, sample, view, stream), so that a new operation shifts no existing one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from pipelines.command.errors import UserError
from pipelines.keys import absorb, to_integer, to_uniform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Every field is 4 bytes wide: a table is also an int32 matrix [..., 19] that one copy takes to a device.
VIEW_PARAMETERS = np.dtype(
    [
        ("top", "i4"),  # crop box in pixels of the upright image; outside the image is black
        ("left", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("flip", "i4"),  # 1: mirrored left to right
        ("order", "i4", (4,)),  # permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue
        ("brightness", "f4"),  # factor; 1 is none
        ("contrast", "f4"),  # factor; 1 is none
        ("saturation", "f4"),  # factor; 1 is none
        ("hue", "f4"),  # shift in turns, -0.5 to 0.5; 0 is none
        ("grey", "i4"),  # 1: to grey
        ("blur_sigma", "f4"),  # pixels of the view; 0 is none
        ("solarize_threshold", "f4"),  # in [0, 1]; 2 is none
        ("cutout_top", "i4"),  # square hole in pixels of the view, may reach over its border
        ("cutout_left", "i4"),
        ("cutout_size", "i4"),  # 0 is none
    ]
)
NO_SOLARIZE = 2.0

# Stream ids. Never renumber: a number is part of every view ever drawn.
_CROP, _FLIP, _JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(8)
_GREY, _BLUR, _SIGMA, _SOLARIZE, _CUTOUT = range(8, 13)
_CROP_TRIES = 10  # torchvision's RandomResizedCrop
_CROP_KINDS = ("random_resized", "padded", "center")
_COLOR_SPACES = ("rgb", "lab")


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """How one view of an image is made. Semantics are torchvision's ``transforms.v2`` on float images.

    Operations in order: crop and resize, flip, jitter (its four parts in a random order per sample), grey,
    blur, solarize, colour space, normalisation, Cutout.
    """

    size: int = 224  # side of the finished view, pixels
    crop: Literal["random_resized", "padded", "center"] = "random_resized"
    scale: tuple[float, float] = (0.08, 1.0)  # random_resized: share of the image's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # random_resized: width / height, drawn log-uniformly
    padding: int = 0  # padded: black border, pixels, before a crop of size x size
    center_fraction: float = 0.875  # center: side of the central square / short side (224 / 256)
    flip_p: float = 0.5
    jitter_p: float = 0.0
    brightness: float = 0.0  # factor drawn from [max(0, 1 - b), 1 + b]; contrast, saturation likewise
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # shift drawn from [-h, h] turns
    grey_p: float = 0.0
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_p: float = 0.0
    solarize_threshold: float = 128 / 255
    cutout: float = 0.0  # side of the hole / side of the view (DeVries and Taylor, 2017); 0 is none
    color_space: Literal["rgb", "lab"] = "rgb"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"view size must be at least 1 pixel, not {self.size}")
        for name, choices in (("crop", _CROP_KINDS), ("color_space", _COLOR_SPACES)):
            if getattr(self, name) not in choices:
                known = ", ".join(choices)
                raise UserError(f"view {name} must be one of {known}, not {getattr(self, name)!r}")
        for name in ("flip_p", "jitter_p", "grey_p", "blur_p", "solarize_p", "solarize_threshold", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"view {name} must lie in [0, 1], not {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"view {name} must be finite and not negative, not {getattr(self, name)}")
        if not 0 <= self.padding < self.size:  # so that the padded crop always shows some of the image
            raise UserError(f"view padding must lie in [0, size), here [0, {self.size}), not {self.padding}")
        for name, low, high in (
            ("scale", *self.scale),
            ("ratio", *self.ratio),
            ("blur_sigma", *self.blur_sigma),
        ):
            if not 0 < low <= high:
                raise UserError(f"view {name} must be two numbers with 0 < first <= second, not {low} {high}")
        if not 0 <= self.hue <= 0.5:
            raise UserError(f"view hue must lie in [0, 0.5] turns, not {self.hue}")
        if not 0 < self.center_fraction <= 1:
            raise UserError(f"view center_fraction must lie in (0, 1], not {self.center_fraction}")
        if not min(self.std) > 0:
            raise UserError(f"view std must be positive, not {self.std}")


@dataclass(frozen=True, kw_only=True)
class ViewGroup:
    """``num_views`` views of one spec. A run has a tuple of groups and numbers its views across them."""

    spec: ViewSpec
    num_views: int = 1

    def __post_init__(self) -> None:
        if self.num_views < 1:
            raise UserError(f"num_views must be at least 1, not {self.num_views}")


def evaluation_spec(spec: ViewSpec, center_fraction: float) -> ViewSpec:
    """The central crop that evaluates an encoder trained on ``spec``: same size, colours, normalisation.

    This is torchvision's Resize(size / center_fraction) and CenterCrop(size) up to the rounding of either:
    the box differs by less than 1.5 pixels of the image or of the view, whichever are the larger.
    """
    return ViewSpec(
        size=spec.size,
        crop="center",
        center_fraction=center_fraction,
        flip_p=0.0,
        color_space=spec.color_space,
        mean=spec.mean,
        std=spec.std,
    )


def draw(
    spec: ViewSpec,
    *,
    seed: int,
    epoch: int,
    samples: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    views: Sequence[int],
) -> np.ndarray:
    """Draw the parameters of views of samples.

    Args:
        spec: what the views look like.
        seed: of the run.
        epoch: from 0.
        samples: int64 [B], ids that are stable in the source.
        heights: int32 [B], of the upright images, pixels, at least 1; ``widths`` likewise.
        views: the numbers of the K views.

    Returns:
        VIEW_PARAMETERS [K, B].
    """
    table = np.zeros((len(views), len(samples)), VIEW_PARAMETERS)
    packed = _pack(spec)
    for row, view in zip(table, views, strict=True):
        _draw_view(packed, seed, epoch, view, samples, heights, widths, row)
    return table


class _PackedSpec(NamedTuple):
    """The numbers of a ViewSpec in the form that compiled code takes."""

    size: int
    crop: int
    scale: tuple[float, float]
    log_ratio: tuple[float, float]
    padding: int
    center_fraction: float
    flip_p: float
    jitter_p: float
    strengths: tuple[float, float, float, float]
    grey_p: float
    blur_p: float
    blur_sigma: tuple[float, float]
    solarize_p: float
    solarize_threshold: float
    cutout: float


def _pack(spec: ViewSpec) -> _PackedSpec:
    return _PackedSpec(
        spec.size,
        _CROP_KINDS.index(spec.crop),
        (float(spec.scale[0]), float(spec.scale[1])),
        (math.log(spec.ratio[0]), math.log(spec.ratio[1])),
        spec.padding,
        float(spec.center_fraction),
        float(spec.flip_p),
        float(spec.jitter_p),
        (float(spec.brightness), float(spec.contrast), float(spec.saturation), float(spec.hue)),
        float(spec.grey_p),
        float(spec.blur_p),
        (float(spec.blur_sigma[0]), float(spec.blur_sigma[1])),
        float(spec.solarize_p),
        float(spec.solarize_threshold),
        float(spec.cutout),
    )


@njit(cache=True)
def _between(state: np.uint64, low: float, high: float) -> float:
    return low + (high - low) * to_uniform(state)


@njit(cache=True)
def _random_resized_box(state, scale, log_ratio, height, width):  # type: ignore[no-untyped-def]
    """torchvision's RandomResizedCrop.get_params: ten tries, then the central crop of the nearest ratio."""
    for attempt in range(_CROP_TRIES):
        counter = 4 * attempt
        area = height * width * _between(absorb(state, counter), scale[0], scale[1])
        ratio = math.exp(_between(absorb(state, counter + 1), log_ratio[0], log_ratio[1]))
        w = round(math.sqrt(area * ratio))
        h = round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = to_integer(absorb(state, counter + 2), height - h + 1)
            left = to_integer(absorb(state, counter + 3), width - w + 1)
            return top, left, h, w
    w, h = width, height
    if width / height < math.exp(log_ratio[0]):
        h = max(1, min(height, round(width / math.exp(log_ratio[0]))))
    elif width / height > math.exp(log_ratio[1]):
        w = max(1, min(width, round(height * math.exp(log_ratio[1]))))
    return (height - h) // 2, (width - w) // 2, h, w


@njit(cache=True)
def _box(spec, state, height, width):  # type: ignore[no-untyped-def]
    if spec.crop == 0:
        return _random_resized_box(state, spec.scale, spec.log_ratio, height, width)
    if spec.crop == 1:
        free_h = max(0, height + 2 * spec.padding - spec.size)
        free_w = max(0, width + 2 * spec.padding - spec.size)
        top = to_integer(absorb(state, 0), free_h + 1) - spec.padding
        left = to_integer(absorb(state, 1), free_w + 1) - spec.padding
        return top, left, spec.size, spec.size
    side = max(1, round(min(height, width) * spec.center_fraction))
    return (height - side) // 2, (width - side) // 2, side, side


@njit(cache=True)
def _draw_color(spec, key, row):  # type: ignore[no-untyped-def]
    """Jitter, grey, blur and solarize of one view."""
    row.brightness = row.contrast = row.saturation = 1.0
    for i in range(4):
        row.order[i] = i
    if to_uniform(absorb(key, _JITTER)) < spec.jitter_p:
        b, c, s, h = spec.strengths
        row.brightness = _between(absorb(key, _BRIGHTNESS), max(0.0, 1 - b), 1 + b)
        row.contrast = _between(absorb(key, _CONTRAST), max(0.0, 1 - c), 1 + c)
        row.saturation = _between(absorb(key, _SATURATION), max(0.0, 1 - s), 1 + s)
        row.hue = _between(absorb(key, _HUE), -h, h)
        shuffle = absorb(key, _ORDER)
        for i in range(3, 0, -1):  # Fisher and Yates
            j = to_integer(absorb(shuffle, i), i + 1)
            row.order[i], row.order[j] = row.order[j], row.order[i]
    row.grey = to_uniform(absorb(key, _GREY)) < spec.grey_p
    if to_uniform(absorb(key, _BLUR)) < spec.blur_p:
        row.blur_sigma = _between(absorb(key, _SIGMA), spec.blur_sigma[0], spec.blur_sigma[1])
    row.solarize_threshold = NO_SOLARIZE
    if to_uniform(absorb(key, _SOLARIZE)) < spec.solarize_p:
        row.solarize_threshold = spec.solarize_threshold


@njit(cache=True, nogil=True)
def _draw_view(spec, seed, epoch, view, samples, heights, widths, out):  # type: ignore[no-untyped-def]
    run = absorb(absorb(np.uint64(0), seed), epoch)
    for i in range(len(samples)):
        key = absorb(absorb(run, samples[i]), view)
        row = out[i]
        row.top, row.left, row.height, row.width = _box(spec, absorb(key, _CROP), heights[i], widths[i])
        row.flip = to_uniform(absorb(key, _FLIP)) < spec.flip_p
        _draw_color(spec, key, row)
        if spec.cutout > 0:
            hole = absorb(key, _CUTOUT)
            row.cutout_size = round(spec.cutout * spec.size)
            # DeVries and Taylor: the centre is uniform over the view, the hole is clipped at its border.
            row.cutout_top = to_integer(absorb(hole, 0), spec.size) - row.cutout_size // 2
            row.cutout_left = to_integer(absorb(hole, 1), spec.size) - row.cutout_size // 2
