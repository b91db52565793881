"""NVIDIA DALI on the CPU: one decode, conditionals for each operation's probability.

As its documentation advises: ``readers.file``, ``decoders.image`` once for all views, "Conditional execution"
(``enable_conditionals``), ``color_twist`` for jitter in one go, and ``device_id=None`` without a GPU. Grey
and solarize are the quickest of its operators that do it, ``color_space_conversion`` and ``lookup_table``.
Differs from torchvision: jitter is one affine map with a fixed order, where hue turns linearly and contrast
is about mid-grey; the blur's kernel ends at 3 sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.tensors import TensorListCPU

from benchmarks.contenders import Batch, Images, Pass, Work
from pipelines.views import ViewSpec

_DEPTH = 2  # batches under way, DALI's default
_LEVELS = list(range(256))


def _views(work: Work) -> Pass:
    return _passes(work, _view_pipeline)


@pipeline_def(enable_conditionals=True)
def _view_pipeline(work: Work) -> tuple[DataNode, ...]:
    encoded, _ = fn.readers.file(files=work.files())
    image = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
    return tuple([_view(image, work.spec) for _ in range(work.views)])


def _view(image: DataNode, spec: ViewSpec) -> DataNode:
    """One random view of each image of the batch, uint8 [S, S, 3]."""
    view = fn.random_resized_crop(
        image, size=spec.size, random_area=spec.scale, random_aspect_ratio=spec.ratio
    )
    if _happens(spec.flip_p):
        view = fn.flip(view, horizontal=1)
    if _happens(spec.jitter_p):
        view = fn.color_twist(
            view,
            brightness=_factor(spec.brightness),
            contrast=_factor(spec.contrast),
            saturation=_factor(spec.saturation),
            hue=_between(-360 * spec.hue, 360 * spec.hue),
        )
    if _happens(spec.grey_p):
        grey = fn.color_space_conversion(view, image_type=types.RGB, output_type=types.GRAY)
        view = fn.color_space_conversion(grey, image_type=types.GRAY, output_type=types.RGB)
    if _happens(spec.blur_p):
        view = fn.gaussian_blur(view, sigma=_between(*spec.blur_sigma))
    if _happens(spec.solarize_p):
        view = fn.lookup_table(view, keys=_LEVELS, values=_solarized(spec), dtype=types.UINT8)
    return view


def _solarized(spec: ViewSpec) -> list[int]:
    return [255 - level if level >= 255 * spec.solarize_threshold else level for level in _LEVELS]


def _happens(probability: float) -> DataNode:
    return fn.random.coin_flip(probability=probability, dtype=types.BOOL)


def _factor(strength: float) -> DataNode | float:
    return _between(max(0.0, 1 - strength), 1 + strength)


def _between(low: float, high: float) -> DataNode | float:
    return fn.random.uniform(range=(low, high)) if low < high else low  # which it refuses


@pipeline_def
def _decode_pipeline(work: Work) -> DataNode:
    encoded, _ = fn.readers.file(files=work.files())
    return fn.decoders.image(encoded, device="cpu", output_type=types.RGB)


def _passes(work: Work, define: Callable[..., Pipeline]) -> Pass:
    """Passes over the files; of a last batch that is not full, the rest is read from the beginning."""
    pipeline = define(
        work,
        batch_size=work.batch_size,
        num_threads=work.threads,
        device_id=None,
        prefetch_queue_depth=_DEPTH,
    )
    pipeline.schedule_run()  # the first time that means as many batches as fit the queue
    for _ in range(_DEPTH):
        pipeline.share_outputs()
        pipeline.release_outputs()
    batches = -(-len(work.files()) // work.batch_size)

    def run() -> Iterator[Batch]:
        # scheduled by hand, so that nothing is under way when a pass is over
        for _ in range(min(_DEPTH, batches)):
            pipeline.schedule_run()
        for batch in range(batches):
            yield [_images(output) for output in pipeline.share_outputs()]
            pipeline.release_outputs()
            if batch + _DEPTH < batches:
                pipeline.schedule_run()

    return run


def _images(output: TensorListCPU) -> Images:
    """A batch's images without a copy, uint8 [B, H, W, 3] where they are of one size."""
    return np.asarray(output.as_tensor()) if output.is_dense_tensor() else output


PRODUCTS = {"views": _views, "decode": lambda work: _passes(work, _decode_pipeline)}
