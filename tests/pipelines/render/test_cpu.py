"""The numba renderer against the reference, on real photographs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba.core import codegen

from pipelines.ops import ColorJitter, Cutout, GaussianBlur, Grayscale, RandomResizedCrop, Solarize
from pipelines.render import reference
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.render.finish import ViewDtype
from pipelines.views import ViewSpec
from tests.helpers import ROOT
from tests.helpers.view_checks import box, draw_rows, photographs, table_of

LEVEL = 1 / 255
NUMPY_TYPES = {"uint8": np.uint8, "float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
_FACTORS = ("brightness", "contrast", "saturation")
CHAIN = ViewSpec(
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
    solarize=Solarize(p=0.2),
)


PHOTOGRAPHS = [np.array(image) for image in photographs()]  # to be written to, as a decoder's
WORKSPACE = Workspace()


def row(**fields: Any) -> np.ndarray:
    return table_of(fields)


def draw_table(spec: ViewSpec, image: np.ndarray, samples: int, views: int) -> np.ndarray:
    return draw_rows(spec, [image.shape[:2]] * samples, seed=3, epoch=1, views=range(views))


def render(
    image: np.ndarray,
    table: np.ndarray,
    spec: ViewSpec,
    dtype: ViewDtype = "float32",
    workspace: Workspace = WORKSPACE,
) -> np.ndarray:
    """All rows of a table, of one image: [K, B, S, S, 3]."""
    out = np.zeros((*table.shape, spec.size, spec.size, 3), NUMPY_TYPES[dtype])
    for sample in range(table.shape[1]):
        render_views(image, table, sample, render_constants(spec, dtype), out, workspace)
    return out


def expected(image: np.ndarray, parameters: np.void, spec: ViewSpec) -> np.ndarray:
    return reference.render(image, parameters, spec).permute(1, 2, 0).numpy()


def differences(image: np.ndarray, table: np.ndarray, spec: ViewSpec) -> np.ndarray:
    """Distance of every value from the reference's, in gray levels."""
    got = render(image, table, spec)
    wanted = [[expected(image, parameters, spec) for parameters in view] for view in table]
    return np.abs(got - np.array(wanted)) * np.array(spec.std) * 255


@pytest.mark.parametrize("size", [224, 96, 33, 32])
def test_whole_chain(size: int) -> None:
    spec = replace(CHAIN, size=size)
    for image in PHOTOGRAPHS:
        table = draw_table(spec, image, samples=5, views=2)
        errors = differences(image, table, spec)
        assert errors.mean() <= 0.1
        assert errors.max() <= 2  # solarize jumps by one level at its threshold


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_orders_of_the_jitter(order: tuple[int, ...]) -> None:
    spec = ViewSpec(size=64)
    for amounts in ((1.8, 1.7, 1.8, 0.2), (0.3, 0.4, 0.2, -0.4), (1.5, 0.5, 1.6, 0.5)):
        jitter = dict(zip((*_FACTORS, "hue"), amounts, strict=True))
        table = row(**box(40, 60, 200, 210), order=order, **jitter)
        errors = differences(PHOTOGRAPHS[0], table, spec)
        assert errors.mean() <= 0.2
        assert errors.max() <= 1


@pytest.mark.parametrize(
    "fields",
    [
        *(
            {name: factor}
            for name in ("brightness", "contrast", "saturation")
            for factor in (0, 0.5, 1.99, 2, 5)
        ),
        *({"hue": shift} for shift in (-0.5, -0.3, -0.01, 0.01, 1 / 6, 0.5)),
        {"grayscale": 1},
        {"grayscale": 1, "blur_sigma": 1.5, "solarize_threshold": 128 / 255},
        {"solarize_threshold": 128 / 255},
        {"flip": 1},
        *({"blur_sigma": sigma} for sigma in (0.1, 0.3, 0.7, 1.0, 2.0, 7.5)),
    ],
    ids=str,
)
def test_single_operations(fields: dict[str, float]) -> None:
    for size, area in ((224, box(20, 30, 270, 270)), (37, box(100, 100, 37, 37))):
        errors = differences(PHOTOGRAPHS[1], row(**area, **fields), ViewSpec(size=size))
        assert errors.mean() <= 0.1
        assert errors.max() <= (1.1 if "solarize_threshold" in fields else 0.5)


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(
    ("size", "area"),
    [
        (224, box(20, 30, 270, 270)),
        (224, box(0, 0, 427, 640)),
        (224, box(100, 100, 90, 110)),  # enlarged
        (224, box(100, 100, 30, 600)),  # enlarged one way, reduced the other
        (40, box(0, 10, 427, 9)),
        (224, box(5, 5, 1, 1)),
        (33, box(3, 3, 1, 300)),
        (33, box(3, 3, 300, 1)),
        (32, box(426, 639, 1, 1)),
        (32, box(395, 608, 32, 32)),  # the last pixels in memory, copied
        (5, box(394, 605, 33, 35)),
        (32, box(0, 0, 427, 640)),  # many taps
        (7, box(0, 0, 427, 640)),  # more than fit the narrow sums
        (1, box(0, 0, 427, 640)),
        (1, box(17, 21, 1, 1)),
        (2, box(0, 0, 2, 2)),
        (300, box(60, 60, 299, 301)),
        (40, box(-4, -4, 40, 40)),  # padded crops
        (40, box(420, 630, 40, 40)),
        (64, box(-100, 200, 700, 60)),
        (64, box(200, -30, 50, 740)),
    ],
)
def test_boxes(size: int, area: dict[str, int], flip: int) -> None:
    errors = differences(PHOTOGRAPHS[0], row(**area, flip=flip), ViewSpec(size=size))
    assert errors.max() <= 0.25


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("sigma", [0.4, 2.0, 10.0])
def test_blur_wider_than_the_view(size: int, sigma: float) -> None:
    table = row(**box(90, 200, 50, 50), blur_sigma=sigma)
    assert differences(PHOTOGRAPHS[1], table, ViewSpec(size=size)).max() <= 0.5


def test_solarize_at_any_threshold() -> None:
    spec = ViewSpec(size=64)
    area = box(0, 0, 427, 640)
    before = reference.render_colors(PHOTOGRAPHS[0], row(**area)[0, 0], 64).permute(1, 2, 0).numpy()
    for threshold in (0.0, 0.2, 0.9, 1.0):
        table = row(**area, solarize_threshold=threshold)
        errors = differences(PHOTOGRAPHS[0], table, spec)[0, 0]
        clear = np.abs(before - threshold) > LEVEL / 4  # at the threshold the function jumps
        assert clear.mean() > 0.9
        assert errors[clear].max() <= 0.25


def test_solarize_at_a_threshold_that_is_exactly_a_level() -> None:
    """Pixels that are not resampled are levels themselves: the one at the threshold is inverted."""
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    for level in range(256):
        table = row(**box(0, 0, 16, 16), solarize_threshold=np.float32(level / 255))
        assert differences(levels, table, ViewSpec(size=16)).max() <= 0.05, level


def test_lab() -> None:
    spec = replace(CHAIN, size=64, color_space="lab", cutout=Cutout(size=0.25), solarize=Solarize())
    for image in PHOTOGRAPHS:
        errors = differences(image, draw_table(spec, image, samples=5, views=2), spec)
        assert errors.mean() <= 0.1
        assert errors.max() <= 1


@pytest.mark.parametrize("corner", [(-9, 5), (50, 55), (20, 20)])
def test_cutout(corner: tuple[int, int]) -> None:
    spec = ViewSpec(size=64, mean=(0.1, 0.5, 0.9))
    table = row(**box(0, 0, 300, 300), cutout_top=corner[0], cutout_left=corner[1], cutout_size=16)
    hole = np.zeros((64, 64), bool)
    hole[max(0, corner[0]) : corner[0] + 16, max(0, corner[1]) : corner[1] + 16] = True
    assert differences(PHOTOGRAPHS[0], table, spec).max() <= 0.25
    normalized: tuple[ViewDtype, ...] = ("float32", "float16", "bfloat16")
    for dtype in normalized:
        view = render(PHOTOGRAPHS[0], table, spec, dtype)[0, 0]
        assert (view[hole] == 0).all()
    levels = render(PHOTOGRAPHS[0], table, spec, "uint8")[0, 0]
    assert (levels[hole] == [26, 128, 230]).all()  # 25.5, 127.5 and 229.5, to even
    assert (levels[~hole] != [26, 128, 230]).any()


def test_dtypes() -> None:
    spec = replace(CHAIN, size=50)
    table = draw_table(spec, PHOTOGRAPHS[0], samples=6, views=2)
    full = render(PHOTOGRAPHS[0], table, spec)
    half = render(PHOTOGRAPHS[0], table, spec, "float16")
    assert (half == full.astype(np.float16)).all()
    brain = render(PHOTOGRAPHS[0], table, spec, "bfloat16")
    assert (brain.view(np.int16) == torch.from_numpy(full).bfloat16().view(torch.int16).numpy()).all()
    levels = render(PHOTOGRAPHS[0], table, spec, "uint8")
    exact = (full.astype(np.float64) * spec.std + spec.mean) * 255
    assert np.abs(levels - exact).max() <= 0.5001


def test_black_and_white_stay() -> None:
    table = row(**box(0, 0, 90, 70), blur_sigma=1.3, brightness=1.5, saturation=0.7, hue=0.2)
    for level in (0, 255):
        image = np.full((90, 70, 3), level, np.uint8)
        for size in (3, 40, 100):
            assert (render(image, table, ViewSpec(size=size), "uint8") == level).all()


def test_only_its_sample_is_written() -> None:
    spec = replace(CHAIN, size=33)
    table = draw_table(spec, PHOTOGRAPHS[0], samples=3, views=2)
    alone = render(PHOTOGRAPHS[0], table[:, 1:2], spec, "uint8")
    out = np.full((2, 3, 33, 33, 3), 77, np.uint8)
    render_views(PHOTOGRAPHS[0], table, 1, render_constants(spec, "uint8"), out, WORKSPACE)
    assert (out[:, 1] == alone[:, 0]).all()
    assert (out[:, [0, 2]] == 77).all()


def test_same_bits_whatever_the_workspace_held() -> None:
    large, small = replace(CHAIN, size=224), replace(CHAIN, size=17)
    used = Workspace()
    tables = {spec: draw_table(spec, PHOTOGRAPHS[0], samples=4, views=2) for spec in (large, small)}
    first = {
        spec: render(PHOTOGRAPHS[0], table, spec, workspace=Workspace()) for spec, table in tables.items()
    }
    for spec in (large, small, large):
        assert (render(PHOTOGRAPHS[0], tables[spec], spec, workspace=used) == first[spec]).all()
        used.words[:] = np.random.default_rng(0).integers(0, 65536, len(used.words), np.uint16)


def test_same_bits_from_many_threads() -> None:
    table = draw_table(CHAIN, PHOTOGRAPHS[0], samples=6, views=2)
    alone = render(PHOTOGRAPHS[0], table, CHAIN, "uint8")
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        results[number] = render(PHOTOGRAPHS[0], table, CHAIN, "uint8", Workspace())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all((result == alone).all() for result in results.values())


_ELSEWHERE = """
import sys
import numpy as np
from pipelines.ops import fixed_point
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.views import ViewSpec
inputs = np.load(sys.argv[1])
out = np.zeros((1, inputs["table"].shape[1], 50, 50, 3), np.uint8)
for sample in range(out.shape[1]):
    constants = render_constants(ViewSpec(size=50), "uint8")
    render_views(inputs["image"], inputs["table"], sample, constants, out, Workspace())
np.savez(sys.argv[2], out=out, block=fixed_point.BLOCK)
"""


@pytest.mark.slow
def test_other_processors(tmp_path: Path) -> None:
    """Without AVX-512 the same bits; without any permutation of vectors, other roundings."""
    known: list[str] = codegen.get_host_cpu_features().split(",")  # type: ignore[no-untyped-call]
    if "+avx2" not in known:
        pytest.skip("needs an x86 processor with AVX2")
    spec = replace(CHAIN, size=50, crop=RandomResizedCrop(scale=(0.02, 0.1)))
    table = draw_table(spec, PHOTOGRAPHS[0], samples=12, views=1)
    here = render(PHOTOGRAPHS[0], table, spec, "uint8")
    np.savez(tmp_path / "in.npz", image=PHOTOGRAPHS[0], table=table)
    features = {
        8: ",".join(name for name in known if name.startswith("+") and "avx512" not in name),
        0: "+f16c",
    }
    processes = {}
    for block, names in features.items():
        numba = {
            "NUMBA_CPU_NAME": "x86-64",
            "NUMBA_CPU_FEATURES": names,
            "NUMBA_CACHE_DIR": str(tmp_path / f"cache-{block}"),
        }
        processes[block] = subprocess.Popen(
            [sys.executable, "-c", _ELSEWHERE, tmp_path / "in.npz", tmp_path / f"{block}.npz"],
            env=os.environ | numba,
            cwd=ROOT,
        )
    for block, process in processes.items():
        assert process.wait() == 0
        there = np.load(tmp_path / f"{block}.npz")
        assert there["block"] == block
        levels = np.abs(there["out"].astype(int) - here.astype(int))
        assert levels.max() <= (0 if block else 1)


def test_read_only_images() -> None:
    spec = ViewSpec(size=16)
    image = PHOTOGRAPHS[0][:40, :50].copy()
    writable = render(image, row(**box(0, 0, 40, 50)), spec)
    image.flags.writeable = False
    assert (render(image, row(**box(0, 0, 40, 50)), spec) == writable).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "sample"),
    [
        ((1, 2, 16, 16, 3), np.uint8, 2),
        ((1, 2, 16, 16, 3), np.uint8, -1),
        ((2, 2, 16, 16, 3), np.uint8, 0),
        ((1, 2, 16, 15, 3), np.uint8, 0),
        ((1, 2, 16, 16, 3), np.float32, 0),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], dtype: type, sample: int) -> None:
    table = np.concatenate([row(**box(0, 0, 9, 9))] * 2, axis=1)
    out: np.ndarray = np.zeros(shape, dtype)
    with pytest.raises(ValueError, match="do not fit"):
        render_views(
            PHOTOGRAPHS[0], table, sample, render_constants(ViewSpec(size=16), "uint8"), out, WORKSPACE
        )
    assert not out.any()
