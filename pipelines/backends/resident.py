"""The resident backend: images that are decoded once, at the start, and stay in the device's memory.

On a GPU a batch costs the host its draw and nothing more: the renderer gathers the images by their offsets.
On a CPU they stay in the host's memory, and the threads of ``pipelines.backends.threads`` render them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.backends.decode_sample import decode_sample
from pipelines.backends.products import TORCH_TYPES, to_device
from pipelines.backends.request import Request, Requests
from pipelines.batch import Batch, Images
from pipelines.command.errors import UserError
from pipelines.command.progress import map_in_threads
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import Index, Source
from pipelines.views import ViewGroup

_MOST_OF_FREE_MEMORY = 0.8


@dataclass(frozen=True, eq=False)
class DecodedSource:
    """A source whose images lie decoded in the host's memory (a ``Source``).

    Attributes:
        source: where they came from.
        pixels: uint8 [total], one image after the other.
        offsets: int64 [N].
        decoded: bool [N]; False where it failed.
    """

    source: Source
    pixels: np.ndarray
    offsets: np.ndarray
    decoded: np.ndarray

    @property
    def index(self) -> Index:
        """That of the source."""
        return self.source.index

    def read(self, number: int) -> bytes | memoryview | np.ndarray:
        """The pixels, uint8 [H, W, 3]; encoded bytes of an image that failed, to fail again."""
        if not self.decoded[number]:
            return self.source.read(number)
        height, width = int(self.index.heights[number]), int(self.index.widths[number])
        begin = int(self.offsets[number])
        return self.pixels[begin : begin + 3 * height * width].reshape(height, width, 3)

    def describe(self, number: int) -> str:
        """That of the source."""
        return self.source.describe(number)


def decoded_bytes(index: Index) -> int:
    """What all images take once they are decoded."""
    return int(3 * (index.heights.astype(np.int64) * index.widths).sum())


def free_bytes(device: torch.device) -> int:
    """What a device's memory still holds."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    return 1024 * int(fields["MemAvailable"].split()[0])


def decode_all(source: Source, bad_images: BadImages, device: torch.device) -> DecodedSource:
    """Decode all images of a source into the host's memory, visibly.

    Raises:
        UserError: they would take more than 80 % of what is free on the device.
    """
    index = source.index
    needed, free = decoded_bytes(index), free_bytes(device)
    if needed > _MOST_OF_FREE_MEMORY * free:
        raise UserError(
            f"{len(index)} decoded images take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on "
            f"{device}: use --pipeline cpu, or make them smaller with python -m pipelines.pack --max-side"
        )
    ends = np.cumsum(3 * index.heights.astype(np.int64) * index.widths)
    offsets = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    pixels = np.empty(needed, np.uint8)

    def decode(number: int) -> bool:
        place = pixels[offsets[number] : ends[number]]
        image = decode_sample(source, number, bad_images, place)
        if image is None:
            return False
        if image.ctypes.data != place.ctypes.data:
            place[:] = image.reshape(-1)
        return True

    decoded = map_in_threads(decode, range(len(index)), "Decoding images", chunk=64)
    return DecodedSource(source, pixels, offsets, np.array(decoded, bool))


class ResidentLoader:
    """Batches of images in a GPU's memory.

    Args:
        source: decoded.
        groups: the views of a sample.
        plan: which samples form which batch.
        number_format: of the views; "float32", "float16" or "bfloat16".
        start_step: the first step to load; batches end before ``stop_step``.
        bad_images: takes note of what cannot be decoded.
        device: a GPU.
    """

    def __init__(
        self,
        source: DecodedSource,
        groups: tuple[ViewGroup, ...],
        plan: Plan,
        *,
        number_format: NumberFormat,
        start_step: int,
        stop_step: int,
        bad_images: BadImages,
        device: torch.device,
    ) -> None:
        self._source, self._groups = source, groups
        self._requests = Requests(source.index, groups, plan)
        self._number_type = TORCH_TYPES[number_format]
        self._next_step, self._stop_step = start_step, stop_step
        self._bad_images, self._device = bad_images, device
        self._pixels = torch.from_numpy(source.pixels).to(device)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._ahead: dict[int, Future[tuple[Request, np.ndarray]]] = {}  # by step

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        step = self._next_step
        if step >= self._stop_step:
            raise StopIteration
        self._ahead = {
            ahead: self._ahead.get(ahead) or self._pool.submit(self._request, ahead)
            for ahead in range(step, min(step + 2, self._stop_step))
        }
        request, numbers = self._ahead[step].result()
        self._next_step = step + 1
        return self._render(request, numbers)

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state."""
        self._next_step = state["step"]

    def close(self) -> None:
        """End the thread that draws, and let go of the images."""
        self._pool.shutdown(cancel_futures=True)
        self._ahead.clear()
        self._pixels = self._pixels[:0].clone()

    def _request(self, step: int) -> tuple[Request, np.ndarray]:
        """A step's request, and the numbers of the samples that are shown, int64 [B]."""
        request = self._requests.of_step(step)
        numbers = request.numbers.copy()
        for b in np.flatnonzero(~self._source.decoded[numbers]).tolist():
            numbers[b], _ = self._requests.substitute(request, b, self._held)
        return request, numbers

    def _held(self, number: int) -> np.ndarray | None:
        return decode_sample(self._source, number, self._bad_images)

    def _render(self, request: Request, numbers: np.ndarray) -> Batch:
        from pipelines.render.gpu import render_views

        index, device = self._source.index, self._device
        images = Images(
            pixels=self._pixels,
            offsets=to_device(self._source.offsets[numbers], device),
            heights=to_device(index.heights[numbers], device),
            widths=to_device(index.widths[numbers], device),
        )
        return Batch(
            step=request.step,
            epoch=request.epoch,
            views=tuple(
                render_views(images, table, group.spec, self._number_type)
                for table, group in zip(request.parameters, self._groups, strict=True)
            ),
            sample_ids=to_device(index.sample_ids[request.numbers], device),
            labels=None if index.labels is None else to_device(index.labels[numbers], device),
            parameters=request.parameters,
        )
