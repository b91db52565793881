"""The Triton renderer against the reference, on real photographs.

Without a GPU the kernels run in Triton's interpreter, on small views. With one all of this is marked `gpu`,
and runs the compiled kernels.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.ops import (
    NEUTRAL,
    CenterCrop,
    ColorJitter,
    Cutout,
    Flip,
    GaussianBlur,
    Grayscale,
    PaddedCrop,
    Solarize,
)
from pipelines.render import reference
from pipelines.views import ViewSpec
from tests.helpers import ROOT
from tests.helpers.gpu_views import DEVICE, ON_GPU, finish_crops, packed, render_views
from tests.helpers.view_checks import box, draw_rows, photographs, table_of
from tests.helpers.waits import waits_are_errors

pytestmark = [pytest.mark.usefixtures("interpreter"), *([pytest.mark.gpu] if ON_GPU else [])]
CLOSE = 0.05  # gray levels: what is staged is rounded to 1/257 of one, and color operations magnify that
JUMP = 1.1  # where a value is within rounding of solarize's threshold: from 128 to 127
FACTORS = ("brightness", "contrast", "saturation")
CHAIN = ViewSpec(
    size=20,
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
    solarize=Solarize(p=0.2),
)


ALWAYS = replace(CHAIN.jitter, p=1.0)
PHOTOGRAPHS = [np.array(image) for image in photographs()]  # to be written to, as a decoder's


def drawn(spec: ViewSpec, images: Sequence[np.ndarray], views: int) -> np.ndarray:
    return draw_rows(spec, [image.shape[:2] for image in images], seed=3, epoch=1, views=range(views))


def ragged(count: int) -> list[np.ndarray]:
    """Pieces of the photographs, no two of one size."""
    pieces = [PHOTOGRAPHS[i % 2][11 * i : 40 + 9 * i, 23 * i : 20 + 28 * i] for i in range(count)]
    assert len({piece.shape for piece in pieces}) == count
    return [np.ascontiguousarray(piece) for piece in pieces]


def expected(images: Sequence[np.ndarray], table: np.ndarray, spec: ViewSpec) -> torch.Tensor:
    """[K * B, 3, S, S]."""
    return torch.stack(
        [
            reference.render(image, row, spec)
            for rows in table
            for image, row in zip(images, rows, strict=True)
        ]
    )


def at_threshold(images: Sequence[np.ndarray], table: np.ndarray, spec: ViewSpec) -> torch.Tensor:
    """Where solarize turns on the last bits of a value, bool [K * B, 3, S, S]."""
    before = table.copy()
    before["solarize_threshold"] = NEUTRAL["solarize_threshold"]
    colors = [
        reference.render_colors(image, row, spec.size)
        for rows in before
        for image, row in zip(images, rows, strict=True)
    ]
    thresholds = torch.from_numpy(table["solarize_threshold"].reshape(-1, 1, 1, 1).copy())
    return (torch.stack(colors) - thresholds).abs() < CLOSE / 255


def check(
    got: torch.Tensor, images: Sequence[np.ndarray], table: np.ndarray, spec: ViewSpec, close: float = CLOSE
) -> None:
    """Assert that float32 views are those of the reference."""
    std = torch.tensor(spec.std).view(3, 1, 1)
    errors = (got.cpu() - expected(images, table, spec)).abs() * std * 255
    unclear = at_threshold(images, table, spec)
    assert unclear.float().mean() < 0.05
    assert errors[~unclear].max() <= close
    assert errors.max() <= JUMP


def check_rounding(got: torch.Tensor, full: torch.Tensor) -> None:
    """Assert that views are float32 ones but for the rounding to their type."""
    step = {torch.float32: 0.0, torch.float16: 2**-11, torch.bfloat16: 2**-8}[got.dtype]
    if not ON_GPU and got.dtype == torch.bfloat16:
        step *= 2  # the interpreter rounds towards zero
    assert ((got.float() - full).abs() <= 1.001 * step * full.abs() + 1e-6).all()


def check_rows(
    image: np.ndarray, rows: Sequence[dict[str, Any]], spec: ViewSpec, close: float = CLOSE
) -> torch.Tensor:
    """Render views of one image, one per row, and assert that they are right."""
    images, table = [image] * len(rows), table_of(*rows)
    got = render_views(packed(images), table, spec, torch.float32)
    check(got, images, table, spec, close)
    return got


def test_orders_of_the_jitter_before_all_that_follows() -> None:
    amounts = itertools.cycle([(1.8, 1.7, 1.8, 0.2), (0.3, 0.4, 0.2, -0.4), (1.5, 0.5, 1.6, 0.5)])
    rows = [
        {
            **box(40, 60, 30 + i, 50 - i),
            **dict(zip((*FACTORS, "hue"), next(amounts), strict=True)),
            "order": order,
            "flip": i % 2,
            "grayscale": i % 5 == 0,
            "blur_sigma": 0.3 + i % 3,
            **({"solarize_threshold": 128 / 255} if i % 2 else {}),
        }
        for i, order in enumerate(itertools.permutations(range(4)))
    ]
    check_rows(PHOTOGRAPHS[0], rows, ViewSpec(size=16))


@pytest.mark.parametrize(
    ("spec", "count", "views"),
    [
        (CHAIN, 3, 3),
        (
            replace(CHAIN, size=45, jitter=ALWAYS, blur=GaussianBlur(p=1.0)),
            2,
            1,
        ),  # more than one tile a side
        (replace(CHAIN, size=16, solarize=Solarize(p=0.0), cutout=Cutout(size=0.5), color_space="lab"), 4, 2),
        (replace(CHAIN, size=24, crop=PaddedCrop(padding=4), flip=Flip(p=1.0)), 3, 1),
        (replace(CHAIN, size=8, crop=CenterCrop(), mean=(0.1, 0.5, 0.9), std=(0.3, 0.2, 0.1)), 3, 1),
    ],
    ids=["ragged", "tiles", "lab", "padded", "center"],
)
def test_drawn_rows(spec: ViewSpec, count: int, views: int) -> None:
    images = ragged(count)
    table = drawn(spec, images, views)
    got = render_views(packed(images), table, spec, torch.float32)
    assert got.shape == (count * views, 3, spec.size, spec.size)
    assert got.is_contiguous(memory_format=torch.channels_last)
    check(got, images, table, spec)


@pytest.mark.parametrize("tiles", [(1, 64, 16, 16), (1, 2048, 32, 8), (16, 32, 8, 32)], ids=str)
def test_tiles_of_other_shapes(tiles: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.render import gpu  # as tests.helpers imported it

    for name, side in zip(("TILE_Y", "TILE_X", "BLUR_DOWN", "BLUR_ACROSS"), tiles, strict=True):
        monkeypatch.setattr(gpu, name, side)
    spec, images = replace(CHAIN, size=35, blur=GaussianBlur(p=0.7)), ragged(2)
    table = drawn(spec, images, 2)
    check(render_views(packed(images), table, spec, torch.float32), images, table, spec)


@pytest.mark.parametrize(
    ("fields", "close"),
    [
        *(({name: factor}, 0.01) for name in FACTORS for factor in (0, 0.5, 5)),
        *(({"hue": shift}, 0.001) for shift in (-0.5, -0.3, 0.01, 1 / 6)),
        ({"grayscale": 1}, 0.001),
        ({"grayscale": 1, "blur_sigma": 1.5, "solarize_threshold": 128 / 255}, 0.01),
        ({"solarize_threshold": 0.2}, 0.001),
        ({"flip": 1}, 0.001),
    ],
    ids=str,
)
def test_single_operations(fields: dict[str, Any], close: float) -> None:
    rows = [{**area, **fields} for area in (box(20, 30, 27, 24), box(100, 100, 7, 7))]
    images, table = [PHOTOGRAPHS[1]] * 2, table_of(*rows)
    spec = ViewSpec(size=7)
    got = render_views(packed(images), table, spec, torch.float32).cpu()
    errors = (got - expected(images, table, spec)).abs() * torch.tensor(spec.std).view(3, 1, 1) * 255
    assert errors[~at_threshold(images, table, spec)].max() <= close


@pytest.mark.parametrize(
    ("size", "areas"),
    [
        (40, [(100, 100, 30, 57), (60, 60, 39, 41), (426, 639, 1, 1), (387, 600, 40, 40), (40, 40, 40, 9)]),
        (
            40,
            [(-4, -4, 40, 40), (420, 630, 40, 40), (-10, 600, 60, 70), (-300, 0, 340, 20)],
        ),  # over the border
        (33, [(3, 3, 1, 200), (3, 3, 200, 1), (5, 5, 33, 33), (5, 5, 2, 2), (5, 5, 66, 32)]),
        (9, [(0, 0, 60, 200), (394, 605, 33, 35), (1, 2, 9, 10)]),
        (1, [(0, 0, 20, 30), (17, 21, 1, 1), (17, 21, 2, 1)]),
        (2, [(0, 0, 2, 2), (7, 0, 1, 3)]),
    ],
)
@pytest.mark.parametrize("flip", [0, 1])
def test_boxes(size: int, areas: list[tuple[int, int, int, int]], flip: int) -> None:
    rows = [{**box(*area), "flip": flip} for area in areas]
    got = check_rows(PHOTOGRAPHS[0], rows, ViewSpec(size=size), close=0.001)
    assert got.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 3, 17, 33])
def test_blur_of_any_width(size: int) -> None:
    area = box(90, 200, size + 2, size + 1)
    rows = [{**area, "blur_sigma": sigma} for sigma in (1e-4, 0.1, 0.4, 2.0, 2.01, 100.0)]
    check_rows(PHOTOGRAPHS[1], rows, ViewSpec(size=size), close=0.01)


def test_cutout() -> None:
    spec = ViewSpec(size=24, mean=(0.1, 0.5, 0.9))
    corners = [(-9, 5), (20, 21), (8, 8)]
    rows = [
        {**box(0, 0, 30, 30), "cutout_top": top, "cutout_left": left, "cutout_size": 10}
        for top, left in corners
    ]
    got = check_rows(PHOTOGRAPHS[0], rows, spec)
    for view, (top, left) in zip(got.cpu(), corners, strict=True):
        hole = np.zeros((24, 24), bool)
        hole[max(0, top) : top + 10, max(0, left) : left + 10] = True
        assert (view[:, hole] == 0).all()
        assert (view[:, ~hole] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types(dtype: torch.dtype) -> None:
    images = ragged(3)
    table = drawn(CHAIN, images, 1)
    full = render_views(packed(images), table, CHAIN, torch.float32)
    got = render_views(packed(images), table, CHAIN, dtype)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    check_rounding(got, full)


def test_repeats_to_the_bit() -> None:
    spec = replace(CHAIN, size=33, jitter=ALWAYS)
    images = ragged(2)
    table = drawn(spec, images, 1)
    first, second = (render_views(packed(images), table, spec, torch.float32) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_finish_crops(color_space: Any) -> None:
    spec = replace(
        CHAIN,
        size=16,
        solarize=Solarize(p=0.0 if color_space == "lab" else 0.5),
        color_space=color_space,
    )
    images = ragged(3)
    table = drawn(spec, images, 2)
    crops = np.stack([PHOTOGRAPHS[0][16 * i : 16 * i + 16, 40:56] for i in range(6)])
    device_crops = torch.from_numpy(crops.reshape(2, 3, 16, 16, 3)).to(DEVICE)
    got = finish_crops(device_crops, table, spec, torch.float32)
    whole = table.reshape(1, 6).copy()
    for name, value in {**box(0, 0, 16, 16), "flip": 0}.items():
        whole[name] = value
    assert (table["height"] != 16).any()
    check(got, list(crops), whole, spec)


def test_what_does_not_fit_is_refused() -> None:
    images = ragged(2)
    table, batch = drawn(CHAIN, images, 1), packed(images)
    with pytest.raises(ValueError, match=r"not \[K, B\] of 2 images"):
        render_views(batch, table[:, :1], CHAIN, torch.float32)
    with pytest.raises(ValueError, match=r"not uint8 \[total\]"):
        render_views(replace(batch, pixels=batch.pixels.float()), table, CHAIN, torch.float32)
    with pytest.raises(ValueError, match=r"dtype is torch\.uint8"):
        render_views(batch, table, CHAIN, torch.uint8)
    with pytest.raises(ValueError, match="not VIEW_PARAMETERS"):
        render_views(batch, np.zeros((1, 2), np.int32), CHAIN, torch.float32)
    with pytest.raises(ValueError, match=r"not contiguous uint8 \(1, 2, 20, 20, 3\)"):
        finish_crops(torch.zeros((1, 2, 20, 3, 20), dtype=torch.uint8), table, CHAIN, torch.float32)


def run_python(script: str) -> str:
    """What a fresh process prints, in which Triton is not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_triton_is_imported_only_to_render() -> None:
    # torchvision, which fastssl needs, imports Triton itself.
    script = "import sys, pipelines.backends.threads; print('triton' in sys.modules);"
    script += "import fastssl.train; print('pipelines.render.gpu' in sys.modules)"
    assert run_python(script) == "False\nFalse\n"


# In place of every launch, compile for a Hopper GPU, which needs none.
COMPILE = """
import numpy as np, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type
from pipelines.batch import Images
from pipelines.render import gpu
from pipelines.ops import ColorJitter, GaussianBlur
from pipelines.views import ViewSpec, draw

def compile_only(function, *given, grid, warmup, num_warps, num_stages, enable_fp_fusion, **constants):
    values = dict(zip(function.arg_names, given)) | constants
    signature = {
        parameter.name: "constexpr" if parameter.is_constexpr else mangle_type(values[parameter.name])
        for parameter in function.params
    }
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": enable_fp_fusion}
    source = ASTSource(function, signature, constants)
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    print(function.__name__, len(kernel.asm["cubin"]) > 0)

JITFunction.run = compile_only
side = torch.full((1,), 40, dtype=torch.int32)
images = Images(
    pixels=torch.zeros(4800, dtype=torch.uint8), offsets=torch.zeros(1, dtype=torch.int64),
    heights=side, widths=side,
)
jitter, blur = ColorJitter(p=1.0, contrast=0.5), GaussianBlur(p=1.0)
spec = ViewSpec(jitter=jitter, blur=blur, color_space="lab")
sides = {"heights": side.numpy(), "widths": side.numpy()}
table = draw(spec, seed=0, epoch=0, samples=np.zeros(1, int), views=[0], **sides)
gpu.render_views(images, table, spec, torch.bfloat16)
"""


@pytest.mark.skipif(ON_GPU, reason="the other tests compile")
def test_kernels_compile() -> None:
    kernels = ("resample_views", "adjust_views", "blur_columns", "blur_rows")
    assert run_python(COMPILE).split("\n")[:-1] == [f"{name} True" for name in kernels]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_full_size(dtype: torch.dtype) -> None:
    spec = replace(CHAIN, size=224)
    images = [PHOTOGRAPHS[i % 2][i : 375 + i, 3 * i : 500 + 3 * i].copy() for i in range(40)]
    table = drawn(spec, images, 2)
    batch = packed(images)
    full = render_views(batch, table, spec, torch.float32)
    if dtype == torch.float32:
        check(full, images, table, spec)
    check_rounding(render_views(batch, table, spec, dtype), full)


@pytest.mark.gpu
def test_the_host_waits_for_nothing() -> None:
    images = [PHOTOGRAPHS[i % 2] for i in range(8)]
    table, batch = drawn(CHAIN, images, 2), packed(images)
    crops = torch.zeros((2, 8, 20, 20, 3), dtype=torch.uint8, device=DEVICE)
    with waits_are_errors():
        views = [render_views(batch, table, CHAIN, torch.bfloat16) for _ in range(3)]
        finish_crops(crops, table, CHAIN, torch.bfloat16)
    assert torch.equal(views[0], views[2])
