"""NVIDIA DALI: one decode, conditionals for each operation's probability. As a loader on the CPU.

As its documentation advises: ``readers.file``, ``decoders.image`` once for all views, "Conditional execution"
(``enable_conditionals``), ``color_twist`` for jitter in one go, and ``device_id=None`` without a GPU. Gray
and solarize are the quickest of its operators that do it, ``color_space_conversion`` and ``lookup_table``.
Differs from torchvision: jitter is one affine map with a fixed order, where hue turns linearly and contrast
is about mid-gray; the blur's kernel ends at 3 sigma.

As a renderer it is fed decoded images, on a GPU from that GPU's memory (without a copy where all are of one
size), and normalizes by ``crop_mirror_normalize``: to float16 on a GPU, for it knows no bfloat16, to float32
on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.tensors import TensorListCPU
from torch.utils.dlpack import from_dlpack

from benchmarks.contenders import Batch, Decoded, Images, Pass, Render, Work, random_crop
from pipelines.views import ViewSpec

_DEPTH = 2  # batches under way, DALI's default
_LEVELS = list(range(256))
_INPUT = "images"


def _views(work: Work) -> Pass:
    return _passes(work, _view_pipeline)


@pipeline_def(enable_conditionals=True)
def _view_pipeline(work: Work) -> tuple[DataNode, ...]:
    encoded, _ = fn.readers.file(files=work.files())
    image = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
    return tuple([_view(image, work.spec) for _ in range(work.views)])


def _view(image: DataNode, spec: ViewSpec) -> DataNode:
    """One random view of each image of the batch, uint8 [S, S, 3]."""
    crop = random_crop(spec)
    view = fn.random_resized_crop(
        image, size=spec.size, random_area=crop.scale, random_aspect_ratio=crop.ratio
    )
    if _happens(spec.flip.p):
        view = fn.flip(view, horizontal=1)
    if _happens(spec.jitter.p):
        view = fn.color_twist(
            view,
            brightness=_factor(spec.jitter.brightness),
            contrast=_factor(spec.jitter.contrast),
            saturation=_factor(spec.jitter.saturation),
            hue=_between(-360 * spec.jitter.hue, 360 * spec.jitter.hue),
        )
    if _happens(spec.grayscale.p):
        gray = fn.color_space_conversion(view, image_type=types.RGB, output_type=types.GRAY)
        view = fn.color_space_conversion(gray, image_type=types.GRAY, output_type=types.RGB)
    if _happens(spec.blur.p):
        view = fn.gaussian_blur(view, sigma=_between(*spec.blur.sigma))
    if _happens(spec.solarize.p):
        view = fn.lookup_table(view, keys=_LEVELS, values=_solarized(spec), dtype=types.UINT8)
    return view


def _solarized(spec: ViewSpec) -> list[int]:
    return [255 - level if level >= 255 * spec.solarize.threshold else level for level in _LEVELS]


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


def _images(output: Any) -> Images:
    """The images of a TensorListCPU without a copy, uint8 [B, H, W, 3] where they are of one size."""
    return np.asarray(output.as_tensor()) if output.is_dense_tensor() else output


@pipeline_def(enable_conditionals=True)
def _render_pipeline(decoded: Decoded) -> tuple[DataNode, ...]:
    on_gpu, spec = decoded.device.type == "cuda", decoded.spec
    image = fn.external_source(name=_INPUT, device="gpu" if on_gpu else "cpu", no_copy=True)
    return tuple(
        [
            fn.crop_mirror_normalize(
                _view(image, spec),
                mean=[255 * mean for mean in spec.mean],
                std=[255 * std for std in spec.std],
                dtype=types.FLOAT16 if on_gpu else types.FLOAT,
                output_layout="HWC",
            )
            for _ in range(decoded.views)
        ]
    )


def _renderer(decoded: Decoded) -> Render:
    on_gpu = decoded.device.type == "cuda"
    pipeline = _render_pipeline(
        decoded,
        batch_size=len(decoded.images),
        num_threads=1,
        device_id=torch.cuda.current_device() if on_gpu else None,
        prefetch_queue_depth=1,  # runs are scheduled as they are fed, as many ahead as wanted
        exec_dynamic=True,
    )
    pipeline.build()
    # one array is taken as it is, where it lies; a list of them on a GPU is copied together
    one_size = len({image.shape for image in decoded.images}) == 1
    arrays: list[Any] = [np.stack(decoded.images)] if one_size else list(decoded.images)
    if on_gpu:
        arrays = [torch.from_numpy(array).to(decoded.device) for array in arrays]
    batch = arrays[0] if one_size else arrays
    stream = torch.cuda.current_stream() if on_gpu else None  # waits for what is handed over to it

    def render(times: int) -> Sequence[torch.Tensor]:
        outputs: tuple[TensorListCPU, ...] = ()
        for scheduled in range(times + 1):  # one ahead
            if scheduled < times:
                pipeline.feed_input(_INPUT, batch, layout="HWC")
                pipeline.schedule_run()
            if scheduled:
                outputs = pipeline.outputs(cuda_stream=stream)
        return [from_dlpack(output.as_tensor()).permute(0, 3, 1, 2) for output in outputs]

    return render


RENDERERS = {"dali": _renderer}
OUTPUTS = {"views": _views, "decode": lambda work: _passes(work, _decode_pipeline)}
