"""Memory of what the CPU backend makes: finished views, or what a renderer on the device goes on with.

The latter takes the same table of parameters. It gets crops, views that are only cut, resized and mirrored,
or the pixels of whole images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch

from pipelines.batch import Images, to_device
from pipelines.render.cpu import Workspace, crop_constants, render_constants, render_views
from pipelines.render.finish import ViewDtype
from pipelines.views import ViewGroup

VIEW_DTYPES: dict[torch.dtype, ViewDtype] = {
    torch.uint8: "uint8",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
_HEADROOM = 1.25  # of a vector of decoded images, so that the next batch seldom outgrows it


class Buffer(ABC):
    """The reused memory of one batch, filled by many threads, a sample each."""

    copied: torch.cuda.Event | None = None
    """Recorded on the stream that copies the memory to a GPU."""

    @abstractmethod
    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        """Make room for a batch of images of these sizes, as indexed, int32 [B]."""

    def out(self, slot: int) -> np.ndarray | None:
        """Memory that a sample should be decoded to, uint8 [n]; None: anywhere."""
        return None

    @abstractmethod
    def fill(
        self, slot: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        """Take a decoded image, uint8 [H, W, 3], as a sample of the batch.

        Args:
            slot: its position in the batch.
            image: may lie where ``out`` said, or in memory that is reused after this call.
            parameters: for each view group VIEW_PARAMETERS [K_g, B].
            workspace: of the calling thread.
        """

    @abstractmethod
    def hand_over(self, device: torch.device) -> tuple[torch.Tensor, ...] | Images:
        """Views, crops or images on a device; copies to a GPU are under way when it returns."""

    def wait_until_copied(self) -> None:
        """Return when the memory may be written again: as a rule at once."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None


class ViewBuffer(Buffer):
    """One tensor per view group, [K, B, S, S, 3].

    Args:
        groups: the views of a sample.
        samples: of a batch, at most.
        dtype: of finished views; uint8: see ``render_constants``. None: crops, uint8 levels.
        pinned: it is copied to a GPU.
    """

    def __init__(
        self, groups: tuple[ViewGroup, ...], samples: int, dtype: torch.dtype | None, *, pinned: bool
    ) -> None:
        self._constants = tuple(
            crop_constants(group.spec.size)
            if dtype is None
            else render_constants(group.spec, VIEW_DTYPES[dtype])
            for group in groups
        )
        self._memory = tuple(
            torch.empty(
                (group.num_views, samples, group.spec.size, group.spec.size, 3),
                dtype=dtype or torch.uint8,
                pin_memory=pinned,
            )
            for group in groups
        )

    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        """See ``Buffer``."""
        self._views = tuple(_first_samples(memory, len(heights)) for memory in self._memory)
        self._arrays = tuple(_as_numpy(views) for views in self._views)

    def fill(
        self, slot: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        """Render the sample's views."""
        for constants, table, out in zip(self._constants, parameters, self._arrays, strict=True):
            render_views(image, table, slot, constants, out, workspace)

    def hand_over(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The views or crops, [K * B, 3, S, S], channels-last."""
        return tuple(
            _copied(view.flatten(0, 1).permute(0, 3, 1, 2), device)  # channels-last
            for view in self._views
        )


class PixelBuffer(Buffer):
    """One vector of all images of the batch; it grows with their sizes."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._memory = self._allocate(0)

    def begin(self, heights: np.ndarray, widths: np.ndarray) -> None:
        """See ``Buffer``."""
        self._heights, self._widths = heights.copy(), widths.copy()
        self._offsets, total = _layout(self._heights, self._widths)
        if total > len(self._memory):
            self._memory = self._allocate(int(total * _HEADROOM))
        self._pixels = self._memory[:total]
        self._array = self._pixels.numpy()
        self._misfits: dict[int, np.ndarray] = {}

    def out(self, slot: int) -> np.ndarray:
        """The sample's own part of the buffer."""
        begin = int(self._offsets[slot])
        return self._array[begin : begin + 3 * int(self._heights[slot]) * int(self._widths[slot])]

    def fill(
        self, slot: int, image: np.ndarray, parameters: tuple[np.ndarray, ...], workspace: Workspace
    ) -> None:
        """Keep the image, where it does not lie in the buffer yet."""
        out = self.out(slot)
        if image.shape[:2] != (self._heights[slot], self._widths[slot]):
            self._misfits[slot] = image.copy()  # a substitute for an image that cannot be decoded
        elif image.ctypes.data != out.ctypes.data:
            out[:] = image.reshape(-1)

    def hand_over(self, device: torch.device) -> Images:
        """The images, on a device."""
        if self._misfits:
            self._rebuild()
        return Images(
            pixels=_copied(self._pixels, device),
            offsets=to_device(self._offsets, device),
            heights=to_device(self._heights, device),
            widths=to_device(self._widths, device),
        )

    def _allocate(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)

    def _rebuild(self) -> None:
        """Lay the images out anew, those of other sizes than indexed among them."""
        images = [self._misfits.get(i, self.out(i)).reshape(-1) for i in range(len(self._offsets))]
        for slot, image in self._misfits.items():
            self._heights[slot], self._widths[slot] = image.shape[:2]
        self._offsets, total = _layout(self._heights, self._widths)
        self._memory = self._pixels = self._allocate(total)
        np.concatenate(images, out=self._pixels.numpy())


def _copied(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device; a copy to a CUDA GPU, whose end an event tells, is under way."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def _layout(heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, int]:
    """Offsets of images that lie one after the other, int64 [B], and the end of the last."""
    ends = np.cumsum(3 * heights.astype(np.int64) * widths)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return offsets[:-1], int(offsets[-1])


def _first_samples(memory: torch.Tensor, count: int) -> torch.Tensor:
    """A contiguous [K, count, S, S, 3] at the beginning of [K, B, S, S, 3]: an evaluation's last batch."""
    shape = (len(memory), count, *memory.shape[2:])
    return memory.flatten()[: math.prod(shape)].view(shape)


def _as_numpy(views: torch.Tensor) -> np.ndarray:
    """The same memory; bfloat16, which numpy lacks, as its bits."""
    if views.dtype == torch.bfloat16:
        return views.view(torch.int16).numpy().view(np.uint16)
    return views.numpy()
