"""SPDL (Meta): images decoded by FFmpeg in a pipeline of threads. It only decodes: it has no augmentation.

Written as its documentation advises ("Basic I/O", "Pipeline"): ``load_image`` without resizing, in RGB, in a
pipeline with as many threads as there are to be. It needs FFmpeg's libraries (4 to 9), whose colors are up to
13 levels off libjpeg's. Left out, for it does not have them: random crop, flip, jitter, gray, blur, solarize.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import spdl.io
from spdl.pipeline import PipelineBuilder

from benchmarks.contenders import Batch, Pass, Work, decode_each

try:
    spdl.io.ImageCodec  # noqa: B018  (looks for FFmpeg)
except RuntimeError as error:
    raise ImportError(f"it finds no FFmpeg, such as libavdevice's package: {error}") from None

_RGB = spdl.io.get_video_filter_desc(pix_fmt="rgb24")


def _load(source: str | bytes) -> np.ndarray:
    pixels: np.ndarray = spdl.io.to_numpy(spdl.io.load_image(source, filter_desc=_RGB))
    return pixels


def _decode(work: Work) -> Pass:
    return decode_each(work, _load)


def _pixels(work: Work) -> Pass:
    def run() -> Iterator[Batch]:
        pipeline = (
            PipelineBuilder()
            .add_source(work.files())
            .pipe(_load, concurrency=work.threads, output_order="input")
            .aggregate(work.batch_size)
            .add_sink(3)
            .build(num_threads=work.threads)
        )
        with pipeline.auto_stop():
            for images in pipeline:
                yield (images,)

    return run


OUTPUTS = {"decode": _decode, "pixels": _pixels}
