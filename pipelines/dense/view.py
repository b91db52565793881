"""``ResizedView``, a view that keeps its image's aspect ratio, and the draw of dense views (``draw_views``).

A dense view is a pure function of (seed, epoch, sample): it is the sample's view 0 in the sense of
``pipelines.views``, with streams of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.ranges import ColorMean, ColorStd, Count, Counts, ZeroToOne, check_ranges
from pipelines.dense.placement import Placement
from pipelines.keys import uniforms
from pipelines.views import IMAGENET_MEAN, IMAGENET_STD, ViewSpec, draw

LONGEST_SIDE = 65535  # pixels, before and after: places in a line are 16-bit words
_SIZE, _WINDOW, _FLIP = 100, 101, 102  # streams, part of every view ever drawn; operations have those below


@dataclass(frozen=True, kw_only=True)
class ResizedView:
    """An image resized by its short side, cropped, mirrored: detectron2's ``ResizeShortestEdge`` and so on.

    ``ResizedView(short_sides=(800,), flip_p=0)`` is the usual view of an evaluation.
    """

    short_sides: Counts = tuple(range(480, 801, 32))
    """Short side of the resized image, pixels, one of these by chance."""
    longest: Count = 1333
    """Longest side of the resized image, pixels, whatever its short side would be."""
    crop: tuple[int, int] | None = None
    """Height and width of the window that is cut out of the resized image by chance; an image that is smaller
    is shown whole, and padded in the batch. None: the whole image."""
    flip_p: ZeroToOne = 0.5
    """Probability of mirroring left to right."""
    mean: ColorMean = IMAGENET_MEAN
    """Mean subtracted from each channel."""
    std: ColorStd = IMAGENET_STD
    """Standard deviation that each channel is divided by."""

    def __post_init__(self) -> None:
        check_ranges(self, "view ")
        if not self.short_sides:
            raise UserError("view short_sides must be one number or more")
        if max(self.longest, *(self.crop or (1, 1))) > LONGEST_SIDE or min(self.crop or (1, 1)) < 1:
            raise UserError(
                f"view longest and crop must be 1 to {LONGEST_SIDE}, not {self.longest} and {self.crop}"
            )


DenseView = ResizedView | ViewSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnView:
    """The view of one image."""

    placement: Placement
    """Its place in the image."""
    table: np.ndarray | None = None
    """VIEW_PARAMETERS [1, 1] of a ViewSpec."""


def draw_views(
    view: DenseView, *, seed: int, epoch: int, samples: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> list[DrawnView]:
    """Draw the views of B samples; arguments are those of ``pipelines.views.draw``."""
    if isinstance(view, ViewSpec):
        table = draw(
            view, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths, views=(0,)
        )
        return [
            DrawnView(placement=placement_of(row, view.size), table=table[:, slot : slot + 1])
            for slot, row in enumerate(table[0])
        ]
    sizes = zip(samples.tolist(), heights.tolist(), widths.tolist(), strict=True)
    return [DrawnView(placement=_place(view, (seed, epoch, *each[:1]), *each[1:])) for each in sizes]


def placement_of(row: np.void, size: int) -> Placement:
    """Placement of a square view, by its row of VIEW_PARAMETERS: crop, flip, shift."""
    flip, right = bool(row["flip"]), int(row["shift_right"])
    return Placement(
        top=int(row["top"]),
        left=int(row["left"]),
        box_height=int(row["height"]),
        box_width=int(row["width"]),
        resized_height=size,
        resized_width=size,
        window_top=-int(row["shift_down"]),
        window_left=right if flip else -right,  # a view is shifted after it is mirrored
        height=size,
        width=size,
        flip=flip,
    )


def resized_size(height: int, width: int, short_side: int, longest: int) -> tuple[int, int]:
    """Height and width of an image once its short side is ``short_side``, and no side above ``longest``.

    The arithmetic is that of detectron2's ``ResizeShortestEdge.get_output_shape``.
    """
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = scale * new_height, scale * new_width
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def _place(view: ResizedView, keys: tuple[int, int, int], height: int, width: int) -> Placement:
    def numbers(stream: int, count: int) -> Iterator[float]:
        yield from uniforms(np.array([*keys, 0, stream]), count).tolist()

    (choice,) = numbers(_SIZE, 1)
    short_side = view.short_sides[int(choice * len(view.short_sides))]
    resized = resized_size(height, width, short_side, view.longest)
    shape = resized if view.crop is None else (min(resized[0], view.crop[0]), min(resized[1], view.crop[1]))
    down, right = numbers(_WINDOW, 2)
    (mirror,) = numbers(_FLIP, 1)
    return Placement(
        top=0,
        left=0,
        box_height=height,
        box_width=width,
        resized_height=resized[0],
        resized_width=resized[1],
        window_top=int(down * (resized[0] - shape[0] + 1)),
        window_left=int(right * (resized[1] - shape[1] + 1)),
        height=shape[0],
        width=shape[1],
        flip=mirror < view.flip_p,
    )
