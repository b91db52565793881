"""What the CPU loader makes of decoded images.

``Views``: finished views, for training on the CPU. For a renderer on the device, which takes the same
table of parameters: ``Crops``, views that are only cut, resized and mirrored; ``Pixels``, whole images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pipelines.batch import Images
from pipelines.render.cpu import Workspace, crop_constants, render_constants, render_views
from pipelines.render.finish import NumberFormat
from pipelines.views import ViewGroup

TORCH_TYPES = {
    "uint8": torch.uint8,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_HEADROOM = 1.25  # of a vector of decoded images, so that the next batch seldom outgrows it


class Canvas(Protocol):
    """The reused memory of one batch, filled by many threads, a sample each."""

    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        """Make room for a batch of images of these sizes, as indexed, int32 [B]."""
        ...

    def place(self, sample: int) -> np.ndarray | None:
        """Where a sample should be decoded to, uint8 [n]; None: anywhere."""
        ...

    def fill(
        self, sample: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        """Take a decoded image, uint8 [H, W, 3], as a sample of the batch.

        Args:
            sample: b, its place in the batch.
            image: may lie where ``place`` said, or in memory that is reused after this call.
            parameters: for each view group VIEW_PARAMETERS [K_g, B].
            workspace: of the calling thread.
        """
        ...

    def hand_over(self, device: torch.device) -> tuple[tuple[torch.Tensor, ...], Images | None]:
        """The ``views`` and ``images`` of a ``Batch``; copies to a GPU are under way when it returns."""
        ...


class Product(Protocol):
    """What is made of the images."""

    def canvas(self, groups: tuple[ViewGroup, ...], samples: int, *, pinned: bool) -> Canvas:
        """Memory for a batch of ``samples``."""
        ...


@dataclass(frozen=True)
class Views:
    """Finished views, normalised; of ``number_format`` "uint8" as ``render_constants`` says."""

    number_format: NumberFormat = "float32"

    def canvas(self, groups: tuple[ViewGroup, ...], samples: int, *, pinned: bool) -> Canvas:
        """Memory for a batch of ``samples``."""
        constants = tuple(render_constants(group.spec, self.number_format) for group in groups)
        return _ViewCanvas(groups, constants, samples, TORCH_TYPES[self.number_format], pinned)


@dataclass(frozen=True)
class Crops:
    """Views as uint8 levels, cut, resized and mirrored; no other operation is done."""

    def canvas(self, groups: tuple[ViewGroup, ...], samples: int, *, pinned: bool) -> Canvas:
        """Memory for a batch of ``samples``."""
        constants = tuple(crop_constants(group.spec.size) for group in groups)
        return _ViewCanvas(groups, constants, samples, torch.uint8, pinned)


@dataclass(frozen=True)
class Pixels:
    """The decoded images themselves."""

    def canvas(self, groups: tuple[ViewGroup, ...], samples: int, *, pinned: bool) -> Canvas:
        """Memory for a batch of ``samples``; it grows with their sizes."""
        return _PixelCanvas(pinned)


class _ViewCanvas:
    """For each view group one tensor [K, B, S, S, 3]."""

    def __init__(
        self,
        groups: tuple[ViewGroup, ...],
        constants: tuple[np.ndarray, ...],
        samples: int,
        number_type: torch.dtype,
        pinned: bool,
    ) -> None:
        self._constants = constants
        self._memory = tuple(
            torch.empty(
                (group.num_views, samples, group.spec.size, group.spec.size, 3),
                dtype=number_type,
                pin_memory=pinned,
            )
            for group in groups
        )

    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        self._views = tuple(_first_samples(memory, len(heights)) for memory in self._memory)
        self._arrays = tuple(_as_numpy(views) for views in self._views)

    def place(self, sample: int) -> None:
        return None

    def fill(
        self, sample: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        for constants, table, out in zip(self._constants, parameters, self._arrays, strict=True):
            render_views(image, table, sample, constants, out, workspace)

    def hand_over(self, device: torch.device) -> tuple[tuple[torch.Tensor, ...], None]:
        views = tuple(
            view.flatten(0, 1).permute(0, 3, 1, 2).to(device, non_blocking=True)  # channels-last
            for view in self._views
        )
        return views, None


class _PixelCanvas:
    """One vector of all images of the batch."""

    def __init__(self, pinned: bool) -> None:
        self._pinned = pinned
        self._memory = self._allocate(0)

    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        self._heights, self._widths = heights.copy(), widths.copy()
        self._offsets, total = _layout(self._heights, self._widths)
        if total > len(self._memory):
            self._memory = self._allocate(int(total * _HEADROOM))
        self._pixels = self._memory[:total]
        self._array = self._pixels.numpy()
        self._misfits: dict[int, np.ndarray] = {}

    def place(self, sample: int) -> np.ndarray:
        begin = int(self._offsets[sample])
        return self._array[begin : begin + 3 * int(self._heights[sample]) * int(self._widths[sample])]

    def fill(
        self, sample: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        place = self.place(sample)
        if image.shape[:2] != (self._heights[sample], self._widths[sample]):
            self._misfits[sample] = image.copy()  # a substitute for an image that cannot be decoded
        elif image.ctypes.data != place.ctypes.data:
            place[:] = image.reshape(-1)

    def hand_over(self, device: torch.device) -> tuple[tuple[torch.Tensor, ...], Images]:
        if self._misfits:
            self._rebuild()
        return (), Images(
            pixels=self._pixels.to(device, non_blocking=True),
            offsets=to_device(self._offsets, device),
            heights=to_device(self._heights, device),
            widths=to_device(self._widths, device),
        )

    def _allocate(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)

    def _rebuild(self) -> None:
        """Lay the images out anew, those of other sizes than indexed among them."""
        images = [self._misfits.get(i, self.place(i)).reshape(-1) for i in range(len(self._offsets))]
        for sample, image in self._misfits.items():
            self._heights[sample], self._widths[sample] = image.shape[:2]
        self._offsets, total = _layout(self._heights, self._widths)
        self._memory = self._pixels = self._allocate(total)
        np.concatenate(images, out=self._pixels.numpy())


def to_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """A few numbers as a tensor, without waiting for a GPU; on the CPU it shares their memory."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _layout(heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, int]:
    """Where images begin that lie one after the other, int64 [B], and where the last ends."""
    ends = np.cumsum(3 * heights.astype(np.int64) * widths)
    return np.concatenate([[0], ends[:-1]]), int(ends[-1])


def _first_samples(memory: torch.Tensor, count: int) -> torch.Tensor:
    """A contiguous [K, count, S, S, 3] at the beginning of [K, B, S, S, 3]: an evaluation's last batch."""
    shape = (len(memory), count, *memory.shape[2:])
    return memory.flatten()[: math.prod(shape)].view(shape)


def _as_numpy(views: torch.Tensor) -> np.ndarray:
    """The same memory; bfloat16, which numpy lacks, as its bits."""
    if views.dtype == torch.bfloat16:
        return views.view(torch.int16).numpy().view(np.uint16)
    return views.numpy()
