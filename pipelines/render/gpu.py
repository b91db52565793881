"""The GPU renderer: decoded pixels and rows of VIEW_PARAMETERS to finished views, in Triton.

Tested against ``pipelines.render.reference``. The host fills one small table (``gpu_table``), copies it
without waiting, and launches up to four kernels (``gpu_passes``) for all views of a batch at once:

    resample_views   every view: crop, resize, mirror, jitter up to contrast
    adjust_views     views whose contrast changes: from contrast on, its mean being known
    blur_columns     blurred views
    blur_rows        blurred views

Whichever is a view's last pass solarizes (and whatever else comes after blur), converts, normalizes, cuts
the hole and writes the output. A view without contrast and blur is done in the first. Between passes pixels
are staged as uint16, 1/257 of a gray level apart: half the bytes of float32, and a hundredth of the error of
rounding the output to bfloat16.

Bytes a view moves to and from memory, S = 224, output of 2 bytes, box h x w:

    read the box                        3 h w    242,000   (mean over 20,000 ``draw``s in 500 x 375)
    write the view                    2 x 3 S²   301,056
    contrast: stage and read      2 x 2 x 3 S²   602,112
    blur: stage, read, and again  4 x 2 x 3 S²  1,204,224

With all of it 2.35 MB, at 4.8 TB/s 0.49 us: 2.0 million views per second; with none, 8.8 million; with jitter
at p 0.8 and blur at p 0.5, as MoCo v2's, 1.63 MB: 2.9 million. Caches only lower this: views of an image
overlap, and what one pass stages the next may still find there. Measured: benchmarks/README.md, "On a GPU".

Memory beside the output: 6 S² bytes per view with contrast or blur, and as much again a blurred one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton

from pipelines.batch import Images
from pipelines.render.gpu_passes import adjust_views, blur_columns, blur_rows, resample_views
from pipelines.render.gpu_table import launch_table
from pipelines.views import VIEW_PARAMETERS, ViewSpec

__all__ = ["finish_crops", "render_views"]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# Sizes of programs and their warps, as ``benchmarks.tune`` tries them.
TILE_Y, TILE_X, RESAMPLE_WARPS = 8, 16, 2  # pixels of a view that one program makes, at most
BLOCK, ADJUST_WARPS = 1024, 4  # pixels
BLUR_DOWN, BLUR_ACROSS, BLUR_WARPS = 16, 16, 2
# Loads are too small to be pipelined; multiplications and additions may be fused.
_COMPILER: dict[str, Any] = {"num_stages": 1, "enable_fp_fusion": True}


def render_views(images: Images, parameters: np.ndarray, spec: ViewSpec, dtype: torch.dtype) -> torch.Tensor:
    """All K views of B images, on their device and its current stream. The host waits for nothing.

    Args:
        images: B upright images; each at least 1 x 1 and less than 2 GiB.
        parameters: VIEW_PARAMETERS [K, B], on the host, as ``pipelines.views.draw`` fills it.
        spec: gives the size, the color space and the normalization; the rest is in the rows.
        dtype: torch.float32, float16 or bfloat16.

    Returns:
        ``dtype`` [K * B, 3, S, S], channels-last, normalized, with Cutout's holes at 0; the B samples of
        the first view first. The same input gives the same bits.

    Raises:
        ValueError: if shapes or types are not these.
    """
    if images.pixels.dtype != torch.uint8 or images.pixels.ndim != 1 or not images.pixels.is_contiguous():
        raise ValueError(f"pixels {images.pixels.dtype} {tuple(images.pixels.shape)} are not uint8 [total]")
    if parameters.ndim != 2 or parameters.shape[1] != len(images.offsets):
        raise ValueError(f"parameters {parameters.shape} are not [K, B] of {len(images.offsets)} images")
    return _render(images, parameters, spec, dtype)


def finish_crops(
    crops: torch.Tensor, parameters: np.ndarray, spec: ViewSpec, dtype: torch.dtype
) -> torch.Tensor:
    """``render_views`` from crops that are already cut, resized and mirrored.

    Args:
        crops: uint8 [K, B, S, S, 3], contiguous.
        parameters, spec, dtype: as in ``render_views``; box and flip of the rows are not used.

    Returns:
        As ``render_views``.

    Raises:
        ValueError: if shapes or types are not these.
    """
    expected = (*parameters.shape, spec.size, spec.size, 3)
    if crops.dtype != torch.uint8 or crops.shape != expected or not crops.is_contiguous():
        raise ValueError(f"crops {crops.dtype} {tuple(crops.shape)} are not contiguous uint8 {expected}")
    whole = parameters.copy()
    for name in ("top", "left", "flip"):
        whole[name] = 0
    whole["height"] = whole["width"] = spec.size
    count, step, device = parameters.size, 3 * spec.size**2, crops.device
    side = torch.full((count,), spec.size, dtype=torch.int32, device=device)
    offsets = torch.arange(0, count * step, step, dtype=torch.int64, device=device)
    images = Images(pixels=crops.view(-1), offsets=offsets, heights=side, widths=side)
    return _render(images, whole, spec, dtype)


def _render(images: Images, parameters: np.ndarray, spec: ViewSpec, dtype: torch.dtype) -> torch.Tensor:
    """Allocate and launch. View v, counted along the rows of ``parameters``, is of image v modulo B."""
    if parameters.dtype != VIEW_PARAMETERS:
        raise ValueError(f"parameters are {parameters.dtype}, not VIEW_PARAMETERS")
    if dtype not in _FLOATS:
        raise ValueError(f"dtype is {dtype}, not one of {_FLOATS}")
    size, count, device, lab = spec.size, parameters.size, images.pixels.device, spec.color_space == "lab"
    least = triton.next_power_of_2(size)
    tile_y, tile_x, down, across = (min(side, least) for side in (TILE_Y, TILE_X, BLUR_DOWN, BLUR_ACROSS))
    block = min(BLOCK, triton.next_power_of_2(size * size))
    tiles = triton.cdiv(size, tile_y) * triton.cdiv(size, tile_x)
    if TILE_Y == 1:  # pixels one after the other
        tile_x = min(TILE_X, triton.next_power_of_2(size * size))
        tiles = triton.cdiv(size * size, tile_x)
    blur_tiles = triton.cdiv(size, down) * triton.cdiv(size, across)
    out = torch.empty((count, size, size, 3), dtype=dtype, device=device)
    with torch.cuda.device_of(out):
        table = launch_table(np.ascontiguousarray(parameters).reshape(-1), spec, device)
        staged = torch.empty((table.num_staged, size, size, 3), dtype=torch.uint16, device=device)
        sums = torch.empty((table.num_staged, tiles), dtype=torch.float32, device=device)
        turned = torch.empty((len(table.blurred), size, 3, size), dtype=torch.uint16, device=device)
        if count:
            resample_views[(count * tiles,)](
                images.pixels,
                images.offsets,
                images.heights,
                images.widths,
                len(images.offsets),
                table.rows,
                staged,
                sums,
                out,
                SIZE=size,
                TILE_Y=tile_y,
                TILE_X=tile_x,
                LAB=lab,
                num_warps=RESAMPLE_WARPS,
                **_COMPILER,
            )
        if len(table.adjusted):
            adjust_views[(len(table.adjusted) * triton.cdiv(size * size, block),)](
                table.adjusted,
                table.rows,
                staged,
                sums,
                out,
                SIZE=size,
                TILES=tiles,
                TILES_POWER=triton.next_power_of_2(tiles),
                BLOCK=block,
                LAB=lab,
                num_warps=ADJUST_WARPS,
                **_COMPILER,
            )
        if len(table.blurred):
            grid = (len(table.blurred) * blur_tiles,)
            sizes = {"SIZE": size, "DOWN": down, "ACROSS": across, "num_warps": BLUR_WARPS, **_COMPILER}
            blur_columns[grid](table.blurred, table.rows, staged, turned, **sizes)
            blur_rows[grid](table.blurred, table.rows, turned, out, LAB=lab, **sizes)
    return out.permute(0, 3, 1, 2)
