"""DALI's side of the DALI backend: its pipelines, and what of the drawn parameters is fed to them.

Nothing here imports DALI before it is used. A pipeline runs on a GPU (``mixed`` decoding) or, with the same
graph, on a CPU alone. Encoded images and all parameters come from outside: what comes out depends on nothing
else. Views differ from ``pipelines.render.reference`` of the same decoded pixels, where DALI renders them, in

- resampling: the same filter but for the outermost pixels, which count again for those that are missing;
- rounding to whole levels after each operation;
- clamping, once after several operations (``pipelines.backends.color_matrix``), and the angle of the hue.

In levels of 255, of photographs and of gaudy pictures, on a CPU; the command prints it for every operation:

                                                    mean   worst view    max
    crop                                            0.26         0.33   12.2
    crop, hue by up to 0.5                          0.57         1.40   16.1
    crop, jitter of 0.4, 0.4, 0.4 and hue 0.1       1.00         7.13   40.9
    whole chain                                     0.98        16.64   73.4

    python -m pytest -s -m "not gpu" tests/pipelines/backends/test_dali.py -k operations

Its decoder gives there the very pixels of ``pipelines.decode.decode`` (``-k decoders``). On a GPU neither has
been measured yet: ``-m gpu``.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipelines.backends.color_matrix import color_steps, hue_rotations
from pipelines.backends.products import TORCH_TYPES, to_device
from pipelines.batch import Images
from pipelines.command.errors import UserError
from pipelines.ops import PaddedCrop
from pipelines.render.finish import NumberFormat, render_constants
from pipelines.views import ViewGroup, ViewSpec

ENCODED, ARGUMENTS = "encoded", "arguments"  # the inputs of the pipelines

# What one view's branch is fed, all in float32: one input for all views, since each costs a thread of DALI's.
_VIEW_ARGUMENTS = np.dtype(
    [
        ("begin", "f4", (2,)),  # of the box, row and column
        ("shape", "f4", (2,)),
        ("mirror", "f4"),
        ("recolored", "f4", (2,)),  # before and after the hue shift
        ("matrix", "f4", (2, 3, 3)),
        ("of_mean", "f4", (2, 3, 3)),
        ("hue_shifted", "f4"),
        ("rotation", "f4", (3, 3)),
        ("blurred", "f4"),
        ("sigma", "f4"),
        ("window", "f4"),
        ("solarized", "f4"),
        ("hole_begin", "f4", (2,)),  # Cutout's, clipped at the border
        ("hole_shape", "f4", (2,)),
    ]
)


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
    """A pipeline that decodes only. Its input is ``ENCODED``.

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

    return _built(dali, graph, batch_size, threads, device)


def rendering_pipeline(
    groups: tuple[ViewGroup, ...],
    number_format: NumberFormat,
    batch_size: int,
    threads: int,
    device: torch.device,
) -> Any:
    """A pipeline that makes the views: one decode of a sample, then a branch for each of its views.

    Its outputs are the decoded images' shapes, int64 [3] on the CPU, and the views in the order of their
    numbers, [S, S, 3]: uint8 levels or normalised; float32 for "bfloat16", which DALI lacks. Its inputs are
    ``ENCODED`` and ``ARGUMENTS``, of ``view_arguments``.
    """
    dali = import_dali()
    specs = [group.spec for group in groups for _ in range(group.num_views)]

    def graph() -> tuple[Any, ...]:
        images = _decoded(dali, device)
        table = dali.fn.external_source(name=ARGUMENTS, ndim=2, dtype=dali.types.FLOAT)
        views = [
            _view(dali, images, partial(_argument, dali, table, view), spec, number_format)
            for view, spec in enumerate(specs)
        ]
        return (images.shape(device="cpu"), *views)

    return _built(dali, graph, batch_size, threads, device)


def view_arguments(parameters: tuple[np.ndarray, ...], groups: tuple[ViewGroup, ...]) -> np.ndarray:
    """What ``rendering_pipeline`` is fed beside the images: float32 [B, V, n] for B samples in V views.

    Args:
        parameters: for each view group VIEW_PARAMETERS [K_g, B].
        groups: of these views.
    """
    rows = np.concatenate(parameters).T.ravel()
    samples, sides = parameters[0].shape[1], [group.spec.size for group in groups]
    side = np.tile(np.repeat(sides, [group.num_views for group in groups]), samples)
    table = np.zeros(len(rows), _VIEW_ARGUMENTS)
    table["begin"] = np.stack([rows["top"], rows["left"]], 1)
    table["shape"] = np.stack([rows["height"], rows["width"]], 1)
    table["mirror"] = rows["flip"]
    matrices, of_means = color_steps(rows)
    changed = np.any((matrices != np.eye(3)) | (of_means != 0), axis=(2, 3))
    for step in (0, 1):
        table["recolored"][:, step] = changed[step]
        table["matrix"][:, step], table["of_mean"][:, step] = matrices[step], of_means[step]
    table["hue_shifted"], table["rotation"] = rows["hue"] != 0, hue_rotations(rows["hue"])
    table["blurred"], table["sigma"] = rows["blur_sigma"] > 0, rows["blur_sigma"]
    radius = np.minimum(np.maximum(1, np.ceil(4 * rows["blur_sigma"].astype(np.float64))), side - 1)
    table["window"] = 2 * radius + 1
    table["solarized"] = rows["solarize_threshold"] <= 1
    hole = np.stack([rows["cutout_top"], rows["cutout_left"]], 1)
    table["hole_begin"] = np.clip(hole, 0, side[:, None])
    hole_end = np.clip(hole + rows["cutout_size"][:, None], 0, side[:, None])
    table["hole_shape"] = hole_end - table["hole_begin"]
    return table.view(np.float32).reshape(samples, len(rows) // samples, -1)


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


def view_tensors(
    outputs: Sequence[Any], groups: tuple[ViewGroup, ...], number_format: NumberFormat
) -> tuple[torch.Tensor, ...]:
    """The views that ``rendering_pipeline`` made, as those of a ``Batch``, in memory of their own."""
    views = [from_dlpack(output.as_tensor()) for output in outputs]
    joined, first = [], 0
    for group in groups:
        of_group = torch.cat(views[first : first + group.num_views])
        joined.append(of_group.to(TORCH_TYPES[number_format]).permute(0, 3, 1, 2))
        first += group.num_views
    return tuple(joined)


def blames_an_image(error: RuntimeError) -> bool:
    """Whether a pipeline failed because an image cannot be decoded, and not for want of memory, say."""
    reason = str(error)
    return "fn.decoders.image" in reason and "CUDA" not in reason and "alloc" not in reason


def _built(dali: Any, graph: Callable[[], Any], batch_size: int, threads: int, device: torch.device) -> Any:
    index = None
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
    pipeline = dali.pipeline_def(graph, enable_conditionals=True)(
        batch_size=batch_size,
        num_threads=threads,
        device_id=index,
        prefetch_queue_depth=1,  # whoever feeds a pipeline schedules its runs too, as many ahead as wanted
        exec_dynamic=True,
    )
    pipeline.build()
    return pipeline


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


# --- one branch; DALI rewrites these functions, so that an ``if`` on an argument decides for each sample ----


def _view(
    dali: Any, images: Any, argument: Callable[..., Any], spec: ViewSpec, number_format: NumberFormat
) -> Any:
    view = _crop(dali, images, argument, spec)
    if spec.jitter.p > 0 or spec.grayscale.p > 0:
        view = _color_step(dali, view, argument, 0)
    if spec.jitter.p > 0 and spec.jitter.hue > 0:
        view = _shift_hue(dali, view, argument)
        view = _color_step(dali, view, argument, 1)
    if spec.blur.p > 0:
        view = _blur(dali, view, argument)
    if spec.solarize.p > 0:
        view = _solarize(dali, view, argument, spec)
    return _finish(dali, view, argument, spec, number_format)


def _argument(dali: Any, table: Any, view: int, name: str, step: int | None = None) -> Any:
    """An argument of a view, on the host; of those for two steps one."""
    assert _VIEW_ARGUMENTS.fields is not None
    shape, begin = _VIEW_ARGUMENTS[name].shape, _VIEW_ARGUMENTS.fields[name][1] // 4
    if step is not None:
        shape = shape[1:]
        begin += step * math.prod(shape)
    if not shape:
        return table[view, begin]
    return dali.fn.reshape(table[view, begin : begin + math.prod(shape)], shape=list(shape))


def _crop(dali: Any, images: Any, argument: Callable[..., Any], spec: ViewSpec) -> Any:
    """The box as uint8 [S, S, 3].

    It is cut first, since DALI's resize of a part of an image lets the pixels around it in.
    """
    begin, shape = (dali.fn.cast(argument(name), dtype=dali.types.INT32) for name in ("begin", "shape"))
    box = dali.fn.slice(images, start=begin, shape=shape, axes=[0, 1], out_of_bounds_policy="pad")
    return box if isinstance(spec.crop, PaddedCrop) else dali.fn.resize(box, size=[spec.size, spec.size])


def _color_step(dali: Any, view: Any, argument: Callable[..., Any], step: int) -> Any:
    fn, types = dali.fn, dali.types
    if argument("recolored", step) > 0:
        mean = fn.reductions.mean(view, axes=[0, 1], keep_dims=True, dtype=types.FLOAT)
        shift = fn.coord_transform(mean, M=argument("of_mean", step))
        mapped = fn.coord_transform(view, M=argument("matrix", step))
        view = fn.cast(mapped + shift, dtype=types.UINT8)  # rounds and clamps
    return view


def _shift_hue(dali: Any, view: Any, argument: Callable[..., Any]) -> Any:
    """Turn, then stretch each pixel's three colours to their former least and largest."""
    fn, types, axis = dali.fn, dali.types, {"axes": [2], "keep_dims": True}
    if argument("hue_shifted") > 0:
        turned = fn.coord_transform(view, M=argument("rotation"))
        low, turned_low = fn.reductions.min(view, **axis), fn.reductions.min(turned, **axis)
        chroma = fn.reductions.max(view, **axis) - low
        turned_chroma = dali.math.max(fn.reductions.max(turned, **axis) - turned_low, 1e-3)
        stretch = fn.cast(chroma, dtype=types.FLOAT) / turned_chroma
        view = fn.cast((turned - turned_low) * stretch + low, dtype=types.UINT8)
    return view


def _blur(dali: Any, view: Any, argument: Callable[..., Any]) -> Any:
    if argument("blurred") > 0:
        window = dali.fn.cast(argument("window"), dtype=dali.types.INT32)
        view = dali.fn.gaussian_blur(view, sigma=argument("sigma"), window_size=window)
    return view


def _solarize(dali: Any, view: Any, argument: Callable[..., Any], spec: ViewSpec) -> Any:
    levels = np.arange(256)
    inverted = levels >= np.ceil(255 * spec.solarize.threshold - 0.5)  # what would round to them, too
    values = np.where(inverted, 255 - levels, levels).tolist()
    if argument("solarized") > 0:
        view = dali.fn.lookup_table(view, keys=levels.tolist(), values=values, dtype=dali.types.UINT8)
    return view


def _finish(
    dali: Any, view: Any, argument: Callable[..., Any], spec: ViewSpec, number_format: NumberFormat
) -> Any:
    """Mirror, normalise and cut the hole; what comes of the branches of ``if`` lies together again."""
    fn, types = dali.fn, dali.types
    levels = number_format == "uint8"
    view = fn.crop_mirror_normalize(
        view,
        mirror=fn.cast(argument("mirror"), dtype=types.INT32),
        mean=[0.0] if levels else [255 * mean for mean in spec.mean],
        std=[1.0] if levels else [255 * std for std in spec.std],
        dtype={"uint8": types.UINT8, "float16": types.FLOAT16}.get(number_format, types.FLOAT),
        output_layout="HWC",
    )
    if spec.cutout.size > 0:
        fill = render_constants(spec, number_format)["hole"][0].tolist() if levels else [0.0]
        begin, shape = argument("hole_begin"), argument("hole_shape")
        view = fn.erase(view, anchor=begin, shape=shape, axes=[0, 1], fill_value=fill)
    return view
