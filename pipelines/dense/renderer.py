"""Renderer of dense views, and the memory of a batch of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch

from pipelines.backends.decode_sample import PixelScratch, decode_sample
from pipelines.decode.bad_images import BadImages
from pipelines.dense.placement import Placement
from pipelines.dense.resize import compile_resize, normalization, resize
from pipelines.dense.view import LONGEST_SIDE, DenseView, DrawnView, ResizedView
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.sources import Source

_HEADROOM = 1.25  # of a batch's memory, so that the next batch seldom outgrows it


class _Scratch(threading.local):
    """Scratch memory of each thread."""

    def __init__(self) -> None:
        self.pixels = PixelScratch()
        self.words = np.empty(0, np.uint16)
        self.workspace: Workspace | None = None


class Renderer:
    """Renders the views of one specification. ``decode`` and ``render`` are called from many threads.

    Args:
        view: the specification.
    """

    def __init__(self, view: DenseView) -> None:
        self._view = view
        self._scratch = _Scratch()
        if isinstance(view, ResizedView):
            compile_resize()
            self._colors = normalization(view.mean, view.std)
        else:
            self._colors = render_constants(view, "float32")

    def batch_size(self, views: Sequence[DrawnView], divisor: int) -> tuple[int, int]:
        """Height and width of a batch: room for each view, at least the crop, multiples of ``divisor``."""
        crop = self._view.crop if isinstance(self._view, ResizedView) else None
        least = crop or (1, 1)
        height = max([least[0], *(view.placement.height for view in views)])
        width = max([least[1], *(view.placement.width for view in views)])
        return -(-height // divisor) * divisor, -(-width // divisor) * divisor

    def decode(self, source: Source, index: int, bad_images: BadImages) -> np.ndarray | None:
        """Pixels of a sample, uint8 [H, W, 3], valid until the thread's next; None: see ``decode_sample``."""
        size = 3 * int(source.index.heights[index]) * int(source.index.widths[index])
        return decode_sample(source, index, bad_images, self._scratch.pixels.grown(size))

    def render(self, image: np.ndarray, view: DrawnView, out: np.ndarray) -> None:
        """Write a view of an image, uint8 [H, W, 3], to the top left of ``out``, float32 [H_b, W_b, 3]."""
        if view.table is None:
            self._resize(image, view.placement, out)
            return
        scratch, size = self._scratch, view.placement.height
        if scratch.workspace is None:
            scratch.workspace = Workspace()
        whole = out if out.shape == (size, size, 3) else np.empty((size, size, 3), np.float32)
        render_views(image, view.table, 0, self._colors, whole[None, None], scratch.workspace)
        if whole is not out:
            out[:size, :size], out[size:], out[:size, size:] = whole, 0, 0

    def _resize(self, image: np.ndarray, place: Placement, out: np.ndarray) -> None:
        arguments = (
            np.ascontiguousarray(image),
            (place.top, place.left, place.box_height, place.box_width),
            (place.resized_height, place.resized_width),
            (place.window_top, place.window_left, place.height, place.width),
            int(place.flip),
            self._colors,
        )
        if max(image.shape[:2]) > LONGEST_SIDE:
            raise ValueError(
                f"an image of {image.shape[0]}x{image.shape[1]} pixels is too large to be resized"
            )
        needed = resize(*arguments, self._scratch.words, out)
        if needed:
            self._scratch.words = np.empty(needed, np.uint16)
            resize(*arguments, self._scratch.words, out)


class DenseBuffer:
    """Reused memory of one batch of images, float32, filled by many threads, a sample each.

    Args:
        pinned: it is copied to a GPU.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._memory = torch.empty(0)
        self._copied: torch.cuda.Event | None = None

    def begin(self, count: int, size: tuple[int, int]) -> None:
        """Make room for ``count`` images of a height and width."""
        shape = (count, *size, 3)
        needed = int(np.prod(shape))
        if needed > len(self._memory):
            self._memory = torch.empty(int(_HEADROOM * needed), pin_memory=self._pinned)
        self._images = self._memory[:needed].view(shape)
        self._array = self._images.numpy()
        self._misfits: dict[int, np.ndarray] = {}

    def slot(self, slot: int) -> np.ndarray:
        """Part of the memory for one sample, [H_b, W_b, 3]."""
        return self._array[slot]

    def misfit(self, slot: int, placement: Placement) -> np.ndarray:
        """Memory in place of that, for a view that no room was made for: that of a substitute."""
        self._misfits[slot] = np.empty((placement.height, placement.width, 3), np.float32)
        return self._misfits[slot]

    def hand_over(self, size: tuple[int, int], device: torch.device) -> torch.Tensor:
        """The images on a device, [B, 3, H, W], channels-last; a copy to a GPU is under way.

        Args:
            size: height and width of the batch with its substitutes.
            device: of the result.
        """
        if self._misfits:
            self._rebuild(size)
        images = self._images.permute(0, 3, 1, 2).to(device, non_blocking=self._pinned)
        if device.type == "cuda":
            self._copied = torch.cuda.current_stream(device).record_event()
        return images

    def wait_until_copied(self) -> None:
        """Return when the memory may be written again: as a rule at once."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None

    def _rebuild(self, size: tuple[int, int]) -> None:
        """Lay the images out anew, with substitutes, at the batch's final size."""
        whole = torch.zeros((len(self._images), *size, 3), pin_memory=self._pinned)
        for slot, (old, new) in enumerate(zip(self._array, whole.numpy(), strict=True)):
            image = self._misfits.get(slot, old)
            height, width = min(image.shape[0], size[0]), min(image.shape[1], size[1])
            new[:height, :width] = image[:height, :width]
        self._images, self._memory = whole, whole.view(-1)
