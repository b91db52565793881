"""nvImageCodec (NVIDIA): JPEGs decoded by its libjpeg-turbo, in threads of its own. It only decodes.

Written as its documentation advises ("Decoder", "Batch processing"): a decoder that is kept, ``read`` of the
paths of a batch, and backend and device "CPU only", which need no driver. Pixels are libjpeg-turbo's. Left
out, for it does not have them: random crop, flip, jitter, gray, blur, solarize. Its decoders on a GPU are
not asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia import nvimgcodec

from benchmarks.contenders import Batch, Pass, Work, decode_each


def _decoder(threads: int) -> Any:
    return nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=threads,
        backends=[nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)],
    )


def _pixels_of(image: Any) -> np.ndarray:
    """uint8 [H, W, 3], without a copy. Raises ValueError where it refuses the image."""
    if image is None:
        raise ValueError("nvImageCodec cannot decode an image")
    return np.asarray(image)


class _Own(threading.local):
    """Each thread's own decoder."""

    def __init__(self) -> None:
        self.decoder = _decoder(1)


def _decode(work: Work) -> Pass:
    own = _Own()
    return decode_each(work, lambda data: _pixels_of(own.decoder.decode(data)))


def _pixels(work: Work) -> Pass:
    decoder, files = _decoder(work.threads), work.files()

    def run() -> Iterator[Batch]:
        for first in range(0, len(files), work.batch_size):
            yield ([_pixels_of(image) for image in decoder.read(files[first : first + work.batch_size])],)

    return run


OUTPUTS = {"decode": _decode, "pixels": _pixels}
