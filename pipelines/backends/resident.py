"""The resident backend: images that are decoded once, at the start, and stay in the device's memory.

On a GPU a batch costs the host its draw and nothing more: the renderer gathers the images by their offsets.
On a CPU they stay in the host's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.decode_sample import decode_sample
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import ThreadsBackend, render_on_device
from pipelines.batch import Images, to_device
from pipelines.command.errors import UserError
from pipelines.command.progress import map_in_threads
from pipelines.decode.bad_images import BadImages
from pipelines.sources import Index, Source

_MOST_OF_FREE_MEMORY = 0.8


@dataclass(frozen=True, eq=False)
class DecodedSource:
    """A source whose images lie decoded in the host's memory (a ``Source``)."""

    source: Source
    """Source of the images."""
    pixels: np.ndarray
    """uint8 [total], one image after the other."""
    offsets: np.ndarray
    """int64 [N]."""
    decoded: np.ndarray
    """bool [N]; False where it failed."""

    @property
    def index(self) -> Index:
        """Same as ``source.index``."""
        return self.source.index

    def read(self, index: int) -> bytes | memoryview | np.ndarray:
        """The pixels, uint8 [H, W, 3]; encoded bytes of an image that failed, to fail again."""
        if not self.decoded[index]:
            return self.source.read(index)
        height, width = int(self.index.heights[index]), int(self.index.widths[index])
        begin = int(self.offsets[index])
        return self.pixels[begin : begin + 3 * height * width].reshape(height, width, 3)

    def describe(self, index: int) -> str:
        """Same as ``source.describe``."""
        return self.source.describe(index)


def decoded_bytes(index: Index) -> int:
    """Memory that all images take once they are decoded, bytes."""
    return int(3 * (index.heights.astype(np.int64) * index.widths).sum())


def free_bytes(device: torch.device) -> int:
    """Free memory of a device, bytes."""
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
    metadata = source.index
    needed, free = decoded_bytes(metadata), free_bytes(device)
    if needed > _MOST_OF_FREE_MEMORY * free:
        raise UserError(
            f"{len(metadata)} decoded images take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on "
            f"{device}: use --pipeline cpu, or make them smaller with python -m pipelines.pack --max-side"
        )
    ends = np.cumsum(3 * metadata.heights.astype(np.int64) * metadata.widths)
    offsets = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    pixels = np.empty(needed, np.uint8)

    def decode(index: int) -> bool:
        out = pixels[offsets[index] : ends[index]]
        image = decode_sample(source, index, bad_images, out)
        if image is None:
            return False
        if image.ctypes.data != out.ctypes.data:
            out[:] = image.reshape(-1)
        return True

    decoded = map_in_threads(decode, range(len(metadata)), "Decoding images", chunk=64)
    return DecodedSource(source, pixels, offsets, np.array(decoded, bool))


class ResidentBackend(Backend):
    """Batches of images in a GPU's memory; on a CPU the threads of the backend "cpu" render them."""

    @classmethod
    def open(cls, config: LoaderConfig, requests: Requests) -> Backend:
        """Decode all images, where their source is not decoded yet."""
        if not isinstance(config.source, DecodedSource):
            config = replace(config, source=decode_all(config.source, config.bad_images, config.device))
        if config.device.type != "cuda":
            return ThreadsBackend.open(config, requests)
        return cls(config, requests)

    def __init__(self, config: LoaderConfig, requests: Requests) -> None:
        assert isinstance(config.source, DecodedSource)
        self._config, self._requests, self._source = config, requests, config.source
        self._pixels = torch.from_numpy(self._source.pixels).to(config.device)

    def start(self, request: Request) -> tuple[Request, np.ndarray]:
        """Find substitutes for images that are lost. Gives the request, and the samples shown, int64 [B]."""
        shown = request.indices.copy()
        for slot in np.flatnonzero(~self._source.decoded[shown]).tolist():
            shown[slot], _ = self._requests.substitute(request, slot, self._held)
        return request, shown

    def finish(self, ticket: tuple[Request, np.ndarray]) -> Finished:
        """Gather the images by their offsets, and render."""
        request, shown = ticket
        index, device = self._source.index, self._config.device
        images = Images(
            pixels=self._pixels,
            offsets=to_device(self._source.offsets[shown], device),
            heights=to_device(index.heights[shown], device),
            widths=to_device(index.widths[shown], device),
        )
        return Finished(render_on_device(images, request, self._config), shown)

    def drop(self) -> None:
        """No-op: nothing is under way."""

    def close(self) -> None:
        """Let go of the images."""
        self._pixels = self._pixels[:0].clone()

    def _held(self, index: int) -> np.ndarray | None:
        return decode_sample(self._source, index, self._config.bad_images)
