"""The DALI backend, with real DALI pipelines: on the CPU here, and marked ``gpu`` on a GPU."""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from pipelines.backends import dali as dali_backend
from pipelines.backends.dali import suits_dali
from pipelines.backends.dali_graph import decoding_pipeline, flat_images
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.ops import Solarize
from pipelines.views import ViewGroup
from tests.helpers.encoded import encoded
from tests.helpers.loader_checks import (
    BATCH,
    COUNT,
    CPU,
    DEVICES,
    GROUPS,
    SPEC,
    TRAINING,
    assert_is_the_reference,
    assert_same,
    assert_same_samples,
    copied,
    load_threaded,
    needs_dali,
    numbers_of,
    open_with,
)
from tests.helpers.loader_checks import load as load_by
from tests.helpers.memory_source import MemorySource, photograph, pixels_of


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource(COUNT)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    chosen: torch.device = request.param
    return chosen


open_dali, load = partial(open_with, "dali"), partial(load_by, "dali")


def decoded_by_dali(files: list[bytes], device: torch.device) -> list[np.ndarray]:
    """Images as uint8 [H, W, 3]."""
    pipeline = decoding_pipeline(len(files), 2, device)
    pipeline.feed_input("encoded", [np.frombuffer(data, np.uint8) for data in files])
    pipeline.schedule_run()
    _, images = pipeline.outputs()
    return [np.array(images.as_cpu().at(i)) for i in range(len(files))]


# --- without DALI -------------------------------------------------------------------------------------------


def test_without_dali_it_says_how_to_install_it(
    source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)  # what an import of it meets is an ImportError
    with pytest.raises(UserError, match=r"DALI .*pip install -e '\.\[dali\]'.*--pipeline cpu") as error:
        open_dali(source)
    assert "\n" not in str(error.value)
    assert loader_threads() == []


# --- what suits DALI ----------------------------------------------------------------------------------------


def test_whole_jpegs_of_one_or_three_colors_suit_dali() -> None:
    image = Image.fromarray(photograph(0, 40, 50))
    for color, options in (("RGB", {}), ("L", {}), ("RGB", {"progressive": True}), ("RGB", {"keep_rgb": 1})):
        data = encoded(image.convert(color), **options)
        assert suits_dali(data, 40, 50)
        assert suits_dali(memoryview(data), 40, 50)
        assert not suits_dali(data, 40, 51)  # not as indexed
        assert not suits_dali(data[:-2], 40, 50)
        assert not suits_dali(data + b"\0", 40, 50)
    for orientation in range(1, 9):
        data = encoded(image, orientation=orientation)
        assert suits_dali(data, 40, 50) == (orientation < 5)
        assert suits_dali(data, 50, 40) == (orientation >= 5)


def test_what_else_there_is_does_not_suit_dali() -> None:
    image = Image.fromarray(photograph(0, 40, 50))
    assert not suits_dali(encoded(image, "PNG"), 40, 50)
    assert not suits_dali(encoded(image.convert("CMYK")), 40, 50)
    assert not suits_dali(np.asarray(image), 40, 50)
    assert not suits_dali(b"", 40, 50)
    assert not suits_dali(b"\xff\xd8\xff\xd9", 40, 50)
    bomb = bytearray(encoded(image))
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert not suits_dali(bytes(bomb), 65535, 65535)


# --- what is loaded -----------------------------------------------------------------------------------------


@needs_dali
def test_our_kernels_make_the_reference_of_dalis_pixels(source: MemorySource, device: torch.device) -> None:
    for batch in load(source, stop=2, device=device):
        pixels = decoded_by_dali([source.files[i] for i in numbers_of(source, batch)], device)
        for group, views, table in zip(GROUPS, batch.views, batch.parameters, strict=True):
            for of_view, rows in zip(views.split(BATCH), table, strict=True):
                for view, image, row in zip(of_view, pixels, rows, strict=True):
                    assert_is_the_reference(view, image, row, group.spec, largest=2)


@needs_dali
def test_our_kernels_take_dalis_pixels_wherever_they_lie(device: torch.device) -> None:
    """In one piece they are not copied; in several they are joined."""
    files = [encoded(Image.fromarray(photograph(i, 20 + i, 30))) for i in range(5)]
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


TURNED = [f"orientation {each}" for each in (5, 6, 7, 8)]


def jpegs_of_every_kind() -> dict[str, bytes]:
    photo = load_sample_images().images[0][:200, :320]
    color = {
        sampling: simplejpeg.encode_jpeg(np.ascontiguousarray(photo), 90, colorsubsampling=sampling)
        for sampling in ("444", "422", "420", "440", "411")
    }
    image = Image.fromarray(photo)
    return color | {
        "gray": encoded(image.convert("L")),
        "progressive": encoded(image, progressive=True),
        "stored as RGB": encoded(image, keep_rgb=True),
        **{f"orientation {each}": encoded(image, orientation=each) for each in range(1, 9)},
    }


@needs_dali
def test_the_decoders_differ_by_little(device: torch.device) -> None:
    """On a CPU both are libjpeg-turbo's."""
    files = jpegs_of_every_kind()
    for name, theirs in zip(files, decoded_by_dali(list(files.values()), device), strict=True):
        assert theirs.shape == ((320, 200, 3) if name in TURNED else (200, 320, 3))
        errors = np.abs(theirs.astype(int) - decode(files[name]))
        print(f"{device} {name}: mean {errors.mean():.3f}, max {errors.max()} of 255")
        assert errors.mean() <= (0 if device == CPU else 1)
        assert errors.max() <= (0 if device == CPU else 24)


@needs_dali
def test_lab_is_rendered_too(source: MemorySource) -> None:
    groups = (ViewGroup(spec=replace(SPEC, solarize=Solarize(p=0.0), color_space="lab")),)
    for ours, theirs in zip(load(source, groups=groups), load_threaded(source, groups=groups), strict=True):
        assert_same(ours, theirs)


# --- what DALI cannot do ------------------------------------------------------------------------------------

ORDER = TRAINING.samples(0, np.arange(COUNT)).tolist()


def spoil_tables(data: bytes) -> bytes:
    """Huffman tables of nonsense, which neither the header nor the end of a JPEG tells."""
    begin = data.index(b"\xff\xc4")
    return data[: begin + 4] + b"\xff" * 64 + data[begin + 68 :]


def as_png(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)), "PNG")


def as_cmyk(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)).convert("CMYK"))


def as_pixels(data: bytes) -> Any:
    return pixels_of(data)


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_another_size(data: bytes) -> bytes:
    return encoded(Image.fromarray(pixels_of(data)[:-1]))


def builds_of(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that gets the arguments of every pipeline that is built."""
    build, built = decoding_pipeline, []

    def building(*arguments: Any) -> Any:
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(dali_backend, "decoding_pipeline", building)
    return built


@needs_dali
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
    built = builds_of(monkeypatch)
    notes, theirs_notes = BadImages(None, COUNT), BadImages(None, COUNT)
    options: dict[str, Any] = {"device": device}
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
def test_what_dali_decodes_to_another_size_is_noticed(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_backend, "suits_dali", lambda *_: True)
    source, notes = MemorySource(COUNT), BadImages(None, COUNT)
    source.files[ORDER[BATCH + 3]] = of_another_size(source.files[ORDER[BATCH + 3]])
    options: dict[str, Any] = {"device": device}
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
def test_files_that_never_could_be_read_are_bad_images() -> None:
    class Broken(MemorySource):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.index.heights[ORDER[3]] = 0  # as opening the source found it

        def read(self, number: int) -> bytes:
            if number == ORDER[3]:
                raise PermissionError(13, "Permission denied")
            return super().read(number)

    notes = BadImages(None, COUNT)
    for ours, theirs in zip(load(Broken(COUNT), bad_images=notes), load_threaded(Broken(COUNT)), strict=True):
        assert_same(ours, theirs)
    assert len(notes) == 1


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


@pytest.fixture
def quiet_process(source: MemorySource) -> int:
    """The threads of a process that has used DALI before."""
    load(source, stop=1)
    return native_threads()


@needs_dali
@pytest.mark.parametrize("taken", [0, 3])
def test_closing_early_leaves_no_native_threads(source: MemorySource, quiet_process: int, taken: int) -> None:
    loader = open_dali(source, stop=100, workers=3, prefetch=4)
    for _ in range(taken):
        next(loader)
    assert len(loader_threads()) == (3 if taken else 0)
    assert (native_threads() > quiet_process + 3) == (taken > 0)  # DALI's
    loader.close()
    assert_native_threads(quiet_process)
