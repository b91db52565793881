"""FFCV 1.0.2 as it is installed: random resized crop and flip, for it has no other operation of the chain.

Follows its documentation ("Making dataloaders", "Writing a dataset"): a .beton of its own ``DatasetWriter``,
``RandomResizedCropRGBImageDecoder`` and ``RandomHorizontalFlip``, in the operating system's cache, a
``PipelineSpec`` for each further view. It decodes once a view, with libjpeg's fast DCT; it shrinks by
INTER_AREA, and its writer compresses every image once more, at quality 90.

Each epoch takes new memory for five batches, which long epochs do not notice: here an epoch is several times
the files, and batches are small.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
from ffcv.fields import RGBImageField
from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.pipeline import PipelineSpec
from ffcv.transforms import RandomHorizontalFlip
from ffcv.writer import DatasetWriter
from PIL import Image

from benchmarks.contenders import Batch, Pass, Work, random_crop
from pipelines.views import ViewSpec

_EPOCH = 1024  # images, at least
_BATCH = 16


class _Images:
    """Decoded images, as FFCV's writer wants a data set: ([H, W, 3],) each."""

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        with Image.open(self._files[index]) as image:
            return (np.asarray(image.convert("RGB")),)


def _crops(work: Work) -> Pass:
    count = len(work.files())
    loader = Loader(
        str(_written(work)),
        batch_size=min(_BATCH, work.batch_size),
        num_workers=work.threads,
        os_cache=True,
        order=OrderOption.SEQUENTIAL,
        indices=np.tile(np.arange(count), -(-_EPOCH // count)),
        pipelines={f"view{view}" if view else "image": _pipeline(work.spec) for view in range(work.views)},
        drop_last=False,
    )

    def run() -> Iterator[Batch]:
        yield from loader

    return run


def _written(work: Work) -> Path:
    """The files as a .beton beside their folder."""
    path = work.folder.with_name(f"{work.views}.beton")
    with redirect_stderr(io.StringIO()):  # its progress bar
        writer = DatasetWriter(str(path), {"image": RGBImageField(write_mode="jpg")}, num_workers=1)
        writer.from_indexed_dataset(_Images(work.files()))
    return path


def _pipeline(spec: ViewSpec) -> PipelineSpec:
    crop = random_crop(spec)
    decoder = RandomResizedCropRGBImageDecoder((spec.size, spec.size), crop.scale, crop.ratio)
    return PipelineSpec("image", decoder=decoder, transforms=[RandomHorizontalFlip(spec.flip.p)])


OUTPUTS = {"crops": _crops}
