"""The DALI backend, with real DALI pipelines: on the CPU here, and marked ``gpu`` on a GPU."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from pipelines.backends import dali as dali_backend
from pipelines.backends.color_matrix import color_steps, hue_rotations
from pipelines.backends.dali import DaliLoader, Renderer, suits_dali
from pipelines.backends.dali_graph import decoding_pipeline, flat_images
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.ops import (
    CenterCrop,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    PaddedCrop,
    RandomResizedCrop,
    Solarize,
)
from pipelines.ops.color_jitter import adjust_hue
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.render import reference
from pipelines.views import VIEW_PARAMETERS, ViewGroup, ViewSpec
from tests.helpers import ROOT
from tests.helpers.loader_checks import (
    BATCH,
    BLOCKS,
    COUNT,
    CPU,
    GPU,
    GROUPS,
    SPEC,
    TRAINING,
    assert_same,
    assert_same_samples,
    copied,
    load_threaded,
    numbers_of,
)
from tests.helpers.memory_source import MemorySource, photograph, pixels_of

DEVICES = [pytest.param(CPU, id="cpu"), pytest.param(GPU, id="gpu", marks=pytest.mark.gpu)]
RENDERERS: list[Renderer] = ["fused", "dali"]

needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="DALI is not installed: pip install -e '.[dali]'",
)


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource(COUNT)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    chosen: torch.device = request.param
    return chosen


def open_dali(source: Any, plan: Plan = TRAINING, stop: int = 5, **options: Any) -> DaliLoader:
    defaults: dict[str, Any] = {
        **{"groups": GROUPS, "start_step": 0, "workers": 2, "prefetch": 2, "renderer": "fused"},
        **{"number_format": "float32", "bad_images": BadImages(None, COUNT), "device": CPU},
    }
    return DaliLoader(source, plan=plan, stop_step=stop, **(defaults | options))


def load(source: Any, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    with open_dali(source, plan, **options) as loader:
        return [copied(batch) for batch in loader]


def decoded_by_dali(files: list[bytes], device: torch.device) -> list[np.ndarray]:
    """Images as uint8 [H, W, 3]."""
    pipeline = decoding_pipeline(len(files), 2, device)
    pipeline.feed_input("encoded", [np.frombuffer(data, np.uint8) for data in files])
    pipeline.schedule_run()
    _, images = pipeline.outputs()
    return [np.array(images.as_cpu().at(i)) for i in range(len(files))]


def encoded(image: Image.Image, **options: Any) -> bytes:
    memory = io.BytesIO()
    image.save(memory, **options)
    return memory.getvalue()


# --- without DALI -------------------------------------------------------------------------------------------


def test_without_dali_it_says_how_to_install_it(
    source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)  # what an import of it meets is an ImportError
    with pytest.raises(UserError, match=r"DALI .*pip install -e '\.\[dali\]'.*--pipeline cpu") as error:
        open_dali(source)
    assert "\n" not in str(error.value)
    assert loader_threads() == []


def test_importing_the_backend_does_not_import_dali() -> None:
    program = "import sys, pipelines.backends.dali; sys.exit('nvidia.dali' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


# --- the colour matrices, which need no DALI ----------------------------------------------------------------

WEIGHTS = np.array([0.2989, 0.587, 0.114])  # of grey, as torchvision has them


def rows_of(count: int, **fields: Any) -> np.ndarray:
    rows = np.zeros(count, VIEW_PARAMETERS)
    rows["order"] = np.arange(4)
    rows["brightness"] = rows["contrast"] = rows["saturation"] = 1
    for name, value in fields.items():
        rows[name] = value
    return rows


def step_of(pixels: np.ndarray, matrix: np.ndarray, of_mean: np.ndarray) -> np.ndarray:
    return pixels @ matrix.T + of_mean @ pixels.mean((0, 1))


def test_steps_are_the_operations_in_the_drawn_order() -> None:
    """Without clamping, in float64, from the formulas of torchvision's adjust functions."""
    random = np.random.default_rng(0)
    orders = np.array(np.meshgrid(*[range(4)] * 4)).reshape(4, -1).T
    orders = np.array([order for order in orders if len(set(order.tolist())) == 4])
    rows = rows_of(len(orders), order=orders, grey=np.arange(len(orders)) % 3 == 0)
    for name in ("brightness", "contrast", "saturation"):
        rows[name] = random.uniform(0.6, 1.4, len(rows))
    rows["hue"] = np.where(np.arange(len(rows)) % 4 == 0, 0, random.uniform(-0.5, 0.5, len(rows)))
    turn = hue_rotations(rows["hue"])
    matrices, of_means = color_steps(rows)
    for i, row in enumerate(rows):
        pixels = random.uniform(0, 1, (5, 7, 3))
        ours = step_of(pixels, matrices[0, i], of_means[0, i]) @ turn[i].T
        ours = step_of(ours, matrices[1, i], of_means[1, i])
        expected = pixels
        for operation in row["order"]:
            grey = (expected @ WEIGHTS)[..., None]
            if operation == 0:
                expected = expected * row["brightness"]
            elif operation == 1:
                expected = row["contrast"] * expected + (1 - row["contrast"]) * grey.mean()
            elif operation == 2:
                expected = row["saturation"] * expected + (1 - row["saturation"]) * grey
            else:
                expected = expected @ turn[i].T
        if row["grayscale"]:
            expected = np.repeat((expected @ WEIGHTS)[..., None], 3, 2)
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_nothing_drawn_leaves_colors_alone() -> None:
    matrices, of_means = color_steps(rows_of(2))
    np.testing.assert_array_equal(matrices, np.broadcast_to(np.eye(3), (2, 2, 3, 3)))
    assert not of_means.any()


def test_a_third_of_a_turn_takes_red_to_green_and_leaves_grey() -> None:
    third, back, none = hue_rotations(np.array([1 / 3, -1 / 3, 0]))
    np.testing.assert_allclose(third @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(back @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(third @ [0.4, 0.4, 0.4], 0.4, atol=1e-12)
    np.testing.assert_allclose(none, np.eye(3), atol=1e-12)


def test_a_stretched_rotation_is_nearly_the_hue_of_hsv() -> None:
    """The angle on a circle and on HSV's hexagon differ by at most 1.1 degrees: twice that of 60 a colour."""
    colors = np.random.default_rng(0).uniform(0, 1, (40, 50, 3))
    for shift in (-0.5, -0.1, 0.03, 0.1, 0.25):
        turned = colors @ hue_rotations(np.array([shift]))[0].T
        low, high = (turned.min(2, keepdims=True), turned.max(2, keepdims=True))
        chroma = np.ptp(colors, 2, keepdims=True)
        ours = (turned - low) * chroma / (high - low) + colors.min(2, keepdims=True)
        expected = adjust_hue(torch.from_numpy(colors).permute(2, 0, 1), shift)
        assert np.abs(ours - expected.permute(1, 2, 0).numpy()).max() <= 2 * 1.12 / 60


# --- what suits DALI ----------------------------------------------------------------------------------------


def test_whole_jpegs_of_one_or_three_colors_suit_dali() -> None:
    image = Image.fromarray(photograph(0, 40, 50))
    for color, options in (("RGB", {}), ("L", {}), ("RGB", {"progressive": True}), ("RGB", {"keep_rgb": 1})):
        data = encoded(image.convert(color), format="JPEG", **options)
        assert suits_dali(data, 40, 50)
        assert suits_dali(memoryview(data), 40, 50)
        assert not suits_dali(data, 40, 51)  # not as indexed
        assert not suits_dali(data[:-2], 40, 50)
        assert not suits_dali(data + b"\0", 40, 50)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(image, format="JPEG", exif=exif)
        assert suits_dali(data, 40, 50) == (orientation < 5)
        assert suits_dali(data, 50, 40) == (orientation >= 5)


def test_what_else_there_is_does_not_suit_dali() -> None:
    image = Image.fromarray(photograph(0, 40, 50))
    assert not suits_dali(encoded(image, format="PNG"), 40, 50)
    assert not suits_dali(encoded(image.convert("CMYK"), format="JPEG"), 40, 50)
    assert not suits_dali(np.asarray(image), 40, 50)
    assert not suits_dali(b"", 40, 50)
    assert not suits_dali(b"\xff\xd8\xff\xd9", 40, 50)
    bomb = bytearray(encoded(image, format="JPEG"))
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert not suits_dali(bytes(bomb), 65535, 65535)


# --- what is loaded -----------------------------------------------------------------------------------------


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("plan", [TRAINING, BLOCKS], ids=["random", "blocks"])
def test_samples_and_parameters_are_those_of_the_cpu_backend(
    source: MemorySource, device: torch.device, renderer: Renderer, plan: Plan
) -> None:
    batches = load(source, plan, renderer=renderer, device=device)
    for ours, theirs in zip(batches, load_threaded(source, plan), strict=True):
        assert_same_samples(ours, theirs)
        for group, views in zip(GROUPS, ours.views, strict=True):
            assert views.shape == (group.num_views * BATCH, 3, group.spec.size, group.spec.size)
            assert views.dtype == torch.float32
            assert views.is_contiguous(memory_format=torch.channels_last)


@needs_dali
def test_unlabelled_sources_give_no_labels() -> None:
    (batch,) = load(MemorySource(COUNT, labelled=False), stop=1)
    assert batch.labels is None


def difference(views: torch.Tensor, pixels: list[np.ndarray], rows: np.ndarray, spec: ViewSpec) -> np.ndarray:
    """From the reference, in levels of 255, [B, 3, S, S]."""
    exact = torch.stack([reference.render(image, row, spec) for image, row in zip(pixels, rows, strict=True)])
    return ((views - exact).abs() * 255 * torch.tensor(spec.std).view(3, 1, 1)).numpy()


@needs_dali
def test_our_kernels_make_the_reference_of_dalis_pixels(source: MemorySource, device: torch.device) -> None:
    for batch in load(source, stop=2, device=device):
        pixels = decoded_by_dali([source.files[i] for i in numbers_of(source, batch)], device)
        for group, views, table in zip(GROUPS, batch.views, batch.parameters, strict=True):
            for of_view, rows in zip(views.split(BATCH), table, strict=True):
                assert difference(of_view, pixels, rows, group.spec).max() <= 2


@needs_dali
def test_our_kernels_take_dalis_pixels_wherever_they_lie(device: torch.device) -> None:
    """In one piece they are not copied; in several they are joined."""
    files = [encoded(Image.fromarray(photograph(i, 20 + i, 30)), format="JPEG") for i in range(5)]
    pipeline = decoding_pipeline(len(files), 1, device)
    pipeline.feed_input("encoded", [np.frombuffer(data, np.uint8) for data in files])
    pipeline.schedule_run()
    shapes, images = pipeline.outputs()
    sizes = np.ascontiguousarray(shapes.as_array()[:, :2])
    expected = [np.array(images.as_cpu().at(i)) for i in range(len(files))]
    backwards = type(images)([images[4 - i] for i in range(5)], "HWC")
    for batch, order in ((images, range(5)), (backwards, range(4, -1, -1))):
        found = flat_images(batch, sizes[list(order)], device)
        for i, place in enumerate(order):
            begin = int(found.offsets[i])
            pixels = found.pixels[begin : begin + expected[place].size].cpu().numpy()
            np.testing.assert_array_equal(pixels, expected[place].reshape(-1))
    assert flat_images(images, sizes, device).pixels.data_ptr() == images[0].data_ptr()


def jpegs_of_every_kind() -> dict[str, bytes]:
    photo = load_sample_images().images[0][:200, :320]
    color = {
        sampling: simplejpeg.encode_jpeg(np.ascontiguousarray(photo), 90, colorsubsampling=sampling)
        for sampling in ("444", "422", "420", "440", "411")
    }
    image = Image.fromarray(photo)
    return color | {
        "grey": encoded(image.convert("L"), format="JPEG"),
        "progressive": encoded(image, format="JPEG", progressive=True),
        "stored as RGB": encoded(image, format="JPEG", keep_rgb=True),
    }


@needs_dali
def test_the_decoders_differ_by_little(device: torch.device) -> None:
    """On a CPU both are libjpeg-turbo's."""
    files = jpegs_of_every_kind()
    for name, theirs in zip(files, decoded_by_dali(list(files.values()), device), strict=True):
        errors = np.abs(theirs.astype(int) - decode(files[name]))
        print(f"{device} {name}: mean {errors.mean():.3f}, max {errors.max()} of 255")
        assert errors.mean() <= (0 if device == CPU else 1)
        assert errors.max() <= (0 if device == CPU else 24)


@needs_dali
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(orientation: int, device: torch.device) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(photograph(0, 40, 64)), format="JPEG", exif=exif)
    (pixels,) = decoded_by_dali([data], device)
    assert pixels.shape == ((40, 64, 3) if orientation < 5 else (64, 40, 3))
    assert np.abs(pixels.astype(int) - decode(data)).mean() <= 1


# --- rendered by DALI ---------------------------------------------------------------------------------------

BOX = ViewSpec(size=64, crop=RandomResizedCrop(scale=(0.2, 1.0)))
# With the difference from the reference, in levels of 255, that is tolerated: on average and, unless clamping
# comes too late, at most. The latter follows from the roundings to whole levels before and after an
# operation; within 12 pixels of the border it is not asked for: there DALI's filter takes the outermost pixel
# again where the reference's has none.
OPERATIONS: dict[str, tuple[ViewSpec, float, float]] = {
    "crop": (BOX, 1, 0.51),
    "center": (replace(BOX, crop=CenterCrop()), 1, 0.51),
    "padded": (replace(BOX, crop=PaddedCrop(padding=40)), 0.001, 0.001),
    "brightness": (replace(BOX, jitter=ColorJitter(p=1.0, brightness=0.8)), 1, 1.4),
    "contrast": (replace(BOX, jitter=ColorJitter(p=1.0, contrast=0.8)), 1, 1.5),
    "saturation": (replace(BOX, jitter=ColorJitter(p=1.0, saturation=0.8)), 1, 1.8),
    "hue": (
        replace(BOX, jitter=ColorJitter(p=1.0, hue=0.5)),
        2,
        255 * 2 * 1.12 / 60 + 1.5,
    ),  # the angle's
    "jitter": (
        replace(BOX, jitter=ColorJitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)),
        3,
        255,
    ),
    "grey": (replace(BOX, grayscale=Grayscale(p=1.0)), 1, 1.01),
    "blur": (replace(BOX, blur=GaussianBlur(p=0.9)), 1, 1.01),
    "solarize": (replace(BOX, solarize=Solarize(p=0.9)), 1, 1.51),  # which jumps by a level
    "cutout": (replace(BOX, cutout=Cutout(size=0.5)), 1, 0.51),
    "whole chain": (replace(SPEC, size=64, crop=RandomResizedCrop(scale=(0.2, 1.0))), 3, 255),
}


@pytest.fixture(scope="module")
def photographs() -> MemorySource:
    """Parts of real photographs, and the gaudiest that tests have."""
    source = MemorySource(32)
    china, flower = load_sample_images().images
    images = [
        np.ascontiguousarray(photo[100 * y : 100 * y + 200, 75 * x : 75 * x + 240])
        for photo in (china, flower)
        for y in range(2)
        for x in range(6)
    ] + [photograph(number, 120, 90) for number in range(8)]
    source.files = [simplejpeg.encode_jpeg(image, quality=95) for image in images]
    heights, widths = (np.array([image.shape[i] for image in images], np.int32) for i in (0, 1))
    source.index = replace(source.index, heights=heights, widths=widths)
    return source


@pytest.fixture(scope="module")
def rendered() -> dict[torch.device, Batch]:
    return {}


@needs_dali
@pytest.mark.parametrize("operation", OPERATIONS)
def test_dalis_operations_come_close_to_the_reference(
    photographs: MemorySource, rendered: dict[torch.device, Batch], device: torch.device, operation: str
) -> None:
    if device not in rendered:
        groups = tuple(ViewGroup(spec=spec, num_views=2) for spec, _, _ in OPERATIONS.values())
        options: dict[str, Any] = {"groups": groups, "renderer": "dali", "device": device}
        (rendered[device],) = load(photographs, evaluation_plan(32, 32), stop=1, **options)
    batch, place = rendered[device], list(OPERATIONS).index(operation)
    spec, most_on_average, most = OPERATIONS[operation]
    pixels = decoded_by_dali(photographs.files, device)
    errors = np.concatenate(
        [
            difference(views, pixels, rows, spec)
            for views, rows in zip(batch.views[place].split(32), batch.parameters[place], strict=True)
        ]
    )
    inner = errors[:, :, 12:-12, 12:-12].max()
    print(
        f"{operation}: mean {errors.mean():.2f}, worst view {errors.mean((1, 2, 3)).max():.2f}, "
        f"max {errors.max():.1f}, off the border {inner:.1f} of 255"
    )
    assert errors.mean() <= most_on_average
    assert inner <= most


@needs_dali
def test_dali_enlarges_the_box_alone(device: torch.device) -> None:
    """Of small images, where what lies around the box would show far into the view."""
    sizes = [(1, 1), (1, 9), (9, 1), (2, 3), (8, 40), (40, 8), (16, 16), (32, 32)]
    source, random = MemorySource(len(sizes)), np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    source.files = [simplejpeg.encode_jpeg(image, quality=95) for image in images]
    heights, widths = np.array(sizes, np.int32).T
    source.index = replace(source.index, heights=heights.copy(), widths=widths.copy())
    pixels = decoded_by_dali(source.files, device)
    for spec in (BOX, replace(BOX, crop=CenterCrop())):
        options: dict[str, Any] = {"groups": (ViewGroup(spec=spec),), "renderer": "dali", "device": device}
        (batch,) = load(source, evaluation_plan(8, 8), stop=1, **options)
        assert difference(batch.views[0], pixels, batch.parameters[0][0], spec).max() <= 0.51


@needs_dali
def test_dali_makes_black_what_lies_outside_and_holes_of_the_mean(
    photographs: MemorySource, device: torch.device
) -> None:
    spec = ViewSpec(size=64, crop=PaddedCrop(padding=40), cutout=Cutout(size=0.25))
    options: dict[str, Any] = {"groups": (ViewGroup(spec=spec),), "renderer": "dali", "device": device}
    (batch,) = load(photographs, evaluation_plan(32, 32), stop=1, **options)
    black = -torch.tensor(spec.mean) / torch.tensor(spec.std)
    outside = 0
    for view, row in zip(batch.views[0], batch.parameters[0][0], strict=True):
        top, left = int(row["cutout_top"]), int(row["cutout_left"])
        assert not view[:, max(0, top) : top + 16, max(0, left) : left + 16].any()
        if row["top"] < 0:
            above = view[:, : -row["top"]]
            assert ((above - black.view(3, 1, 1)).abs().amax(0) < 1e-5).logical_or((above == 0).all(0)).all()
            outside += 1
    assert outside > 3


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(("number_format", "tolerance"), [("float16", 2**-9), ("bfloat16", 2**-7)])
def test_numbers_of_two_bytes_are_rounded_ones(
    source: MemorySource, device: torch.device, renderer: Renderer, number_format: str, tolerance: float
) -> None:
    options: dict[str, Any] = {"stop": 1, "renderer": renderer, "device": device}
    (exact,), (rounded,) = load(source, **options), load(source, number_format=number_format, **options)
    for ours, theirs in zip(rounded.views, exact.views, strict=True):
        assert ours.dtype == {"float16": torch.float16, "bfloat16": torch.bfloat16}[number_format]
        assert ours.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours.float(), theirs, atol=1e-3, rtol=tolerance)


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_levels_are_those_before_normalising(source: MemorySource, renderer: Renderer) -> None:
    (exact,), (levels,) = (
        load(source, stop=1, renderer=renderer, number_format=number_format)
        for number_format in ("float32", "uint8")
    )
    for group, ours, theirs in zip(GROUPS, levels.views, exact.views, strict=True):
        assert ours.dtype == torch.uint8
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (group.spec.mean, group.spec.std))
        assert (ours - 255 * (theirs * std + mean)).abs().max() <= 0.51


@needs_dali
def test_lab_is_left_to_our_kernels(source: MemorySource) -> None:
    groups = (ViewGroup(spec=replace(SPEC, solarize=Solarize(p=0.0), color_space="lab")),)
    with pytest.raises(UserError, match="Lab"):
        open_dali(source, groups=groups, renderer="dali")
    for ours, theirs in zip(load(source, groups=groups), load_threaded(source, groups=groups), strict=True):
        assert_same(ours, theirs)


# --- steps --------------------------------------------------------------------------------------------------


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_loader_goes_on_from_a_state(
    source: MemorySource, device: torch.device, renderer: Renderer
) -> None:
    options: dict[str, Any] = {"renderer": renderer, "device": device}
    expected = load(source, **options)
    assert [(batch.step, batch.epoch) for batch in expected] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    with open_dali(source, **options) as loader:
        assert loader.state_dict() == {"step": 0}
        for taken in (1, 2, 3):
            next(loader)
            assert loader.state_dict() == {"step": taken}  # whatever was prefetched
        for step in (0, 3, 1, 4):
            loader.load_state_dict({"step": step})
            assert_same(copied(next(loader)), expected[step])
        with pytest.raises(StopIteration):
            next(loader)
    for ours, theirs in zip(load(source, start_step=3, **options), expected[3:], strict=True):
        assert_same(ours, theirs)


@needs_dali
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (1, 1), (3, 4), (0, 3)])
def test_batches_are_the_same_whatever_the_workers(source: MemorySource, workers: int, prefetch: int) -> None:
    expected = load(source)
    for ours, theirs in zip(load(source, workers=workers, prefetch=prefetch), expected, strict=True):
        assert_same(ours, theirs)


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_an_evaluation_has_its_uneven_last_batch(
    source: MemorySource, device: torch.device, renderer: Renderer
) -> None:
    options: dict[str, Any] = {"renderer": renderer, "device": device}
    parts = load(source, evaluation_plan(COUNT, BATCH), stop=3, **options)
    assert [len(batch) for batch in parts] == [8, 8, 6]
    assert [n for batch in parts for n in numbers_of(source, batch)] == list(range(COUNT))
    (whole,) = load(source, evaluation_plan(COUNT, COUNT), stop=1, **options)
    for k, view in enumerate(whole.each_view()):
        assert torch.equal(view, torch.cat([batch.each_view()[k] for batch in parts]))


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_ranks_batches_joined_are_the_global_batch(
    source: MemorySource, device: torch.device, renderer: Renderer
) -> None:
    options: dict[str, Any] = {"renderer": renderer, "device": device}
    shares = [load(source, replace(TRAINING, rank=rank, world_size=2), **options) for rank in (0, 1)]
    for step, whole in enumerate(load(source, **options)):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part.sample_ids for part in parts]), whole.sample_ids)
        for k, view in enumerate(whole.each_view()):
            assert torch.equal(torch.cat([part.each_view()[k] for part in parts]), view)
        for g, table in enumerate(whole.parameters):
            np.testing.assert_array_equal(np.concatenate([part.parameters[g] for part in parts], 1), table)


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_batch_in_use_is_not_written_to(
    source: MemorySource, device: torch.device, renderer: Renderer
) -> None:
    with open_dali(source, stop=20, prefetch=3, renderer=renderer, device=device) as loader:
        for _ in range(6):
            batch = next(loader)
            before = copied(batch)
            time.sleep(0.02)  # what is prefetched goes on
            assert_same(copied(batch), before)


# --- what DALI cannot do ------------------------------------------------------------------------------------

ORDER = TRAINING.samples(0, np.arange(COUNT)).tolist()


def spoil_tables(data: bytes) -> bytes:
    """Huffman tables of nonsense, which neither the header nor the end of a JPEG tells."""
    begin = data.index(b"\xff\xc4")
    return data[: begin + 4] + b"\xff" * 64 + data[begin + 68 :]


def as_png(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)), format="PNG")


def as_cmyk(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)).convert("CMYK"), format="JPEG")


def as_pixels(data: bytes) -> Any:
    return pixels_of(data)


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_another_size(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)[:-1]), format="JPEG")


def builds_of(monkeypatch: pytest.MonkeyPatch, renderer: Renderer) -> list[Any]:
    """A list that gets the arguments of every pipeline that is built."""
    name = {"fused": "decoding_pipeline", "dali": "rendering_pipeline"}[renderer]
    build, built = getattr(dali_backend, name), []

    def building(*arguments: Any) -> Any:
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(dali_backend, name, building)
    return built


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(
    ("spoil", "bad", "builds"),
    [
        (cut_off, True, 1),
        (spoil_tables, True, 2),
        (of_another_size, True, 1),
        (as_png, False, 1),
        (as_cmyk, False, 1),
        (as_pixels, False, 1),
    ],
)
def test_the_cpu_backend_makes_what_dali_cannot(
    device: torch.device,
    renderer: Renderer,
    spoil: Callable[[bytes], Any],
    bad: bool,
    builds: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = MemorySource(COUNT)
    number = ORDER[BATCH + 3]  # of the second batch
    source.files[number] = spoil(source.files[number])
    if builds > 1:  # or the test would not test what it is meant to
        assert suits_dali(source.files[number], *(int(x[number]) for x in _sizes(source)))
        with pytest.raises(UndecodableImageError):
            decode(source.files[number])
    built = builds_of(monkeypatch, renderer)
    notes, theirs_notes = BadImages(None, COUNT), BadImages(None, COUNT)
    options: dict[str, Any] = {"renderer": renderer, "device": device}
    batches = load(source, stop=2, bad_images=notes, **options)
    expected = load_threaded(source, stop=2, bad_images=theirs_notes)
    assert_same(batches[1], expected[1])  # made by the same kernels
    assert len(notes) == len(theirs_notes) == bad
    whole = load(MemorySource(COUNT), stop=3, **options)
    assert_same(batches[0], whole[0])
    del built[:]
    after = load(source, stop=3, bad_images=notes, start_step=1, **options)
    assert len(built) == builds  # one that failed, and one that goes on
    if number not in numbers_of(source, whole[2]):
        assert_same(after[1], whole[2])


def _sizes(source: MemorySource) -> tuple[np.ndarray, np.ndarray]:
    return source.index.heights, source.index.widths


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
def test_what_dali_decodes_to_another_size_is_noticed(
    device: torch.device, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_backend, "suits_dali", lambda *_: True)
    source, notes = MemorySource(COUNT), BadImages(None, COUNT)
    source.files[ORDER[BATCH + 3]] = of_another_size(source.files[ORDER[BATCH + 3]])
    options: dict[str, Any] = {"renderer": renderer, "device": device}
    batches = load(source, stop=3, bad_images=notes, **options)
    assert len(notes) == 1
    assert_same(batches[1], load_threaded(source, stop=2)[1])
    assert_same(batches[0], load(MemorySource(COUNT), stop=1, **options)[0])


@needs_dali
def test_a_run_goes_on_however_many_images_are_bad(device: torch.device) -> None:
    source = MemorySource(COUNT)
    for number in (1, 5, 6, 13):
        source.files[number] = spoil_tables(source.files[number])
    notes = BadImages(None, COUNT)
    batches = load(source, stop=12, bad_images=notes, prefetch=3, device=device)
    assert len(notes) == 4
    for ours, theirs in zip(batches, load_threaded(source, stop=12), strict=True):
        assert_same_samples(ours, theirs)


@needs_dali
def test_files_that_cannot_be_read_are_bad_images() -> None:
    class Broken(MemorySource):
        def read(self, number: int) -> bytes:
            if number == ORDER[3]:
                raise PermissionError(13, "Permission denied")
            return super().read(number)

    notes = BadImages(None, COUNT)
    for ours, theirs in zip(load(Broken(COUNT), bad_images=notes), load_threaded(Broken(COUNT)), strict=True):
        assert_same(ours, theirs)
    assert len(notes) == 1


@needs_dali
def test_more_bad_images_than_tolerated_end_in_one_clear_line() -> None:
    source = MemorySource(COUNT)
    for number in range(6):
        source.files[number] = spoil_tables(source.files[number])
    with pytest.raises(UserError, match="6 images cannot be decoded, more than the 5 tolerated"):
        load(source, stop=20, bad_images=BadImages(None, 5))


@needs_dali
def test_other_failures_of_dali_are_not_hidden(source: MemorySource, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def feed_input(self, *arguments: Any) -> None: ...

        def schedule_run(self) -> None: ...

        def outputs(self, cuda_stream: Any) -> Any:
            raise RuntimeError("Error in mixed operator `nvidia.dali.fn.decoders.image`: CUDA out of memory")

    expected = load(source, stop=1)
    with open_dali(source) as loader:
        with monkeypatch.context() as patch:
            patch.setattr(dali_backend, "decoding_pipeline", lambda *_: Failing())
            for _ in range(2):  # it does not go away
                with pytest.raises(RuntimeError, match="out of memory"):
                    next(loader)
        assert_same(copied(next(loader)), expected[0])  # once there is memory again


# --- threads ------------------------------------------------------------------------------------------------


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def native_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def assert_native_threads(most: int) -> None:
    """A thread that has ended is seen for a moment yet."""
    deadline = time.monotonic() + 2
    while native_threads() > most and time.monotonic() < deadline:
        time.sleep(0.01)
    assert native_threads() <= most


def settle(source: MemorySource) -> int:
    """Reads so far, once no more come."""
    last = -1
    while last != len(source.reads):
        last = len(source.reads)
        time.sleep(0.1)
    return last


@pytest.fixture
def quiet_process(source: MemorySource) -> int:
    """The threads of a process that has used DALI before."""
    load(source, stop=1)
    return native_threads()


@needs_dali
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_leaves_no_threads(
    source: MemorySource, quiet_process: int, taken: int, renderer: Renderer
) -> None:
    loader = open_dali(source, stop=100, workers=3, prefetch=4, renderer=renderer)
    for _ in range(taken):
        next(loader)
    assert len(loader_threads()) == (3 if taken else 0)
    assert (native_threads() > quiet_process + 3) == (taken > 0)  # DALI's
    loader.close()
    assert loader_threads() == []
    assert_native_threads(quiet_process)
    loader.close()  # a second time does no harm


@needs_dali
def test_leaving_the_block_by_an_error_leaves_no_threads(source: MemorySource, quiet_process: int) -> None:
    def fail() -> None:
        with open_dali(source, stop=100) as loader:
            next(loader)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert loader_threads() == []
    assert_native_threads(quiet_process)


@needs_dali
def test_a_batch_outlives_its_loader(source: MemorySource) -> None:
    with open_dali(source, renderer="dali") as loader:
        batch = next(loader)
        before = copied(batch)
    assert_same(batch, before)


@needs_dali
def test_prefetching_is_bounded() -> None:
    source = MemorySource(COUNT)
    with open_dali(source, stop=100, prefetch=2, workers=3) as loader:
        assert settle(source) == 0  # nobody has asked yet
        next(loader)
        assert settle(source) == 3 * BATCH  # the one in use and two under way
        next(loader)
        assert settle(source) == 4 * BATCH


@needs_dali
def test_nothing_is_read_beyond_the_last_step() -> None:
    source = MemorySource(COUNT)
    with open_dali(source, stop=2, prefetch=5) as loader:
        assert [batch.step for batch in loader] == [0, 1]
    assert settle(source) == 2 * BATCH


@needs_dali
@pytest.mark.parametrize("prefetch", [0, 3])
def test_errors_of_reading_reach_the_consumer(prefetch: int) -> None:
    class Failing(MemorySource):
        def read(self, number: int) -> bytes:
            if number == ORDER[BATCH + 3]:
                raise ZeroDivisionError("of a worker")
            return super().read(number)

    with open_dali(Failing(COUNT), prefetch=prefetch) as loader:
        assert next(loader).step == 0
        for _ in range(2):  # it does not go away either
            with pytest.raises(ZeroDivisionError, match="of a worker"):
                next(loader)
    assert loader_threads() == []


@needs_dali
def test_no_views_is_a_users_mistake(source: MemorySource) -> None:
    with pytest.raises(UserError, match="num-views"):
        open_dali(source, groups=())
