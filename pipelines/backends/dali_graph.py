"""DALI's side of the DALI backend: a pipeline that decodes.

Nothing here imports DALI before it is used. The pipeline runs on a GPU (``mixed`` decoding) or, with the same
graph, on a CPU alone. Encoded images come from outside: what comes out depends on nothing else. On a CPU its
decoder gives the very pixels of ``pipelines.decode.decode``:

    python -m pytest -s -m "not gpu" tests/pipelines/backends/test_dali.py -k decoders

On a GPU it has not been measured yet: ``-m gpu``.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipelines.batch import Images, to_device
from pipelines.command.errors import UserError

ENCODED = "encoded"  # the input of the pipeline


def import_dali() -> Any:
    """The module ``nvidia.dali``.

    Raises:
        UserError: it is not installed, or not for this machine.
    """
    try:
        return importlib.import_module("nvidia.dali")
    except (ImportError, OSError) as error:
        raise UserError(
            f"DALI cannot be imported ({error}): install it with pip install -e '.[dali]' in the clone, or "
            "choose --pipeline cpu"
        ) from None


def decoding_pipeline(batch_size: int, threads: int, device: torch.device) -> Any:
    """A pipeline that decodes. Its input is ``ENCODED``.

    Its outputs are the images' shapes, int64 [3] on the CPU, and the images, uint8 [H, W, 3], RGB, upright.

    Args:
        batch_size: the most samples of a batch.
        threads: of DALI.
        device: a GPU decodes most JPEGs itself.
    """
    dali = import_dali()

    def graph() -> tuple[Any, ...]:
        images = _decoded(dali, device)
        return images.shape(device="cpu"), images

    index = None
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
    pipeline = dali.pipeline_def(graph)(
        batch_size=batch_size,
        num_threads=threads,
        device_id=index,
        prefetch_queue_depth=1,  # whoever feeds a pipeline schedules its runs too, as many ahead as wanted
        exec_dynamic=True,
    )
    pipeline.build()
    return pipeline


def flat_images(images: Any, sizes: np.ndarray, device: torch.device) -> Images:
    """Decoded images as one vector: DALI's own memory where it laid them one after the other.

    Elsewhere they are copied together, once, on their device.

    Args:
        images: the second output of ``decoding_pipeline``.
        sizes: their heights and widths, int32 [B, 2].
        device: theirs.
    """
    lengths = 3 * sizes.astype(np.int64).prod(1)
    ends = np.cumsum(lengths)
    if np.array_equal(np.diff([image.data_ptr() for image in images]), lengths[:-1]):
        pixels = from_dlpack(images.as_reshaped_tensor([int(ends[-1])]))
    else:
        pixels = torch.cat([from_dlpack(image).flatten() for image in images])
    return Images(
        pixels=pixels,
        offsets=to_device(ends - lengths, device),
        heights=to_device(sizes[:, 0].copy(), device),
        widths=to_device(sizes[:, 1].copy(), device),
    )


def blames_an_image(error: RuntimeError) -> bool:
    """True if DALI failed on an image that cannot be decoded (and not, for example, out of memory)."""
    reason = str(error)
    return "fn.decoders.image" in reason and "CUDA" not in reason and "alloc" not in reason


def _decoded(dali: Any, device: torch.device) -> Any:
    # no_copy: the caller keeps the encoded images in memory until the run is over
    encoded = dali.fn.external_source(name=ENCODED, ndim=1, dtype=dali.types.UINT8, no_copy=True)
    return dali.fn.decoders.image(
        encoded,
        device="mixed" if device.type == "cuda" else "cpu",
        output_type=dali.types.RGB,
        jpeg_fancy_upsampling=True,  # on a GPU as on a CPU
        affine=False,  # several processes on one machine would bind their threads to the same cores
    )
