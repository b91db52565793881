"""The specification of a view (``ViewSpec``), and the draw of its random parameters (``draw``).

A view is a pure function of (seed, epoch, sample, view). ``draw`` turns these keys into one row of
``VIEW_PARAMETERS``; renderers only apply rows. Every parameter has its own stream,
hash(seed, epoch, sample, view, stream), so that a new operation shifts no existing one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.command.ranges import ColorMean, ColorStd, FewCount, ViewSize, check_ranges
from pipelines.files.kernels import njit
from pipelines.keys import absorb
from pipelines.ops import KINDS, NEUTRAL, CenterCrop, Flip, Operations
from pipelines.ops import VIEW_PARAMETERS as VIEW_PARAMETERS
from pipelines.ops.unrolled import unrolled

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# CIFAR-10's mean (50.84, 0.40, 5.73) and deviation (24.26, 10.15, 16.08) in Lab, by Newell and Deng's code,
# "How useful is self-supervised pretraining for visual tasks?" (2020), for L / 100, (a + 128) / 255 of a view
LAB_MEAN = (50.84 / 100, (0.40 + 128) / 255, (5.73 + 128) / 255)
LAB_STD = (24.26 / 100, 10.15 / 255, 16.08 / 255)


@dataclass(frozen=True, kw_only=True)
class ViewSpec(Operations):
    """Specification of one view of an image: operations, size, color space, normalization.

    Semantics are those of torchvision's ``transforms.v2`` on float images.
    """

    size: ViewSize = 224
    """Side of the finished view, pixels."""
    color_space: Literal["rgb", "lab"] = "rgb"
    """Color space of the finished view."""
    mean: ColorMean = IMAGENET_MEAN
    """Mean subtracted from each channel, in the color space."""
    std: ColorStd = IMAGENET_STD
    """Standard deviation that each channel is divided by."""

    def __post_init__(self) -> None:
        check_ranges(self, "view ")
        for name in KINDS:
            getattr(self, name).check(self.size)


@dataclass(frozen=True, kw_only=True)
class ViewGroup:
    """``num_views`` views of one spec. A run has a tuple of groups and numbers its views across them."""

    spec: ViewSpec
    num_views: FewCount = 1

    def __post_init__(self) -> None:
        check_ranges(self, "")


def evaluation_spec(spec: ViewSpec, center_fraction: float) -> ViewSpec:
    """The central crop that evaluates an encoder trained on ``spec``: same size, colors, normalization.

    This is torchvision's Resize(size / center_fraction) and CenterCrop(size) up to the rounding of either:
    the box differs by less than 1.5 pixels of the image or of the view, whichever are the larger.
    """
    return ViewSpec(
        size=spec.size,
        crop=CenterCrop(fraction=center_fraction),
        flip=Flip(),
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
    table = np.full((len(views), len(samples)), NEUTRAL, VIEW_PARAMETERS)
    kinds, values = _pack(spec)
    for row, view in zip(table, views, strict=True):
        _draw_view(kinds, values, spec.size, seed, epoch, view, samples, heights, widths, row)
    return table


def _pack(spec: ViewSpec) -> tuple[np.ndarray, np.ndarray]:
    """Pack a spec for compiled code: each operation's kind (an index in KINDS), and its values in a row."""
    ops = [getattr(spec, name) for name in KINDS]
    kinds = [choices.index(type(op)) for choices, op in zip(KINDS.values(), ops, strict=True)]
    values = np.zeros((len(ops), max(len(op.values()) for op in ops)))
    for row, op in zip(values, ops, strict=True):
        row[: len(op.values())] = op.values()
    return np.array(kinds), values


def _draw_all() -> Callable[..., None]:
    """Compile a function that draws every operation, by its kind and values."""
    lines, draws = [], {}
    for index, kinds in enumerate(KINDS.values()):
        for kind, op in enumerate(kinds):
            draws[f"draw_{index}_{kind}"] = op.draw
            lines.append(f"if kinds[{index}] == {kind}:")
            lines.append(f"    draw_{index}_{kind}(values[{index}], size, height, width, key, row)")
    function = unrolled("draw_row", "kinds, values, size, height, width, key, row", lines, draws)
    compiled: Callable[..., None] = njit(function)
    return compiled


_draw_row = _draw_all()


@njit(cache=True, nogil=True)
def _draw_view(kinds, values, size, seed, epoch, view, samples, heights, widths, out):
    run = absorb(absorb(np.uint64(0), seed), epoch)
    for i in range(len(samples)):
        key = absorb(absorb(run, samples[i]), view)
        _draw_row(kinds, values, size, heights[i], widths[i], key, out[i])
