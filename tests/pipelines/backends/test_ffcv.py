"""The FFCV backend, with FFCV itself, on files that FFCV wrote and on ours; beside ``test_backends.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from numba import types
from sklearn.datasets import load_sample_images

from pipelines.backends.backend import LoaderConfig
from pipelines.backends.ffcv import FfcvBackend
from pipelines.backends.ffcv_decoder import jpeg_size
from pipelines.backends.loader import Loader
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.ops import Cutout, RandomResizedCrop
from pipelines.pack import Options, pack
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.sources.beton.beton import BetonSource, open_beton
from pipelines.sources.beton.format import BetonRow, read_table, write_beton
from pipelines.views import ViewGroup
from tests.helpers import ROOT
from tests.helpers.loader_checks import (
    COUNT,
    GPU,
    GROUPS,
    SPEC,
    TRAINING,
    assert_follows_the_keys,
    assert_same,
    copied,
    load_threaded,
    needs_ffcv,
    open_with,
)
from tests.helpers.memory_source import MemorySource, photograph

FILES = ["ffcv-jpg", "ffcv-raw", "ffcv-proportion", "pack-jpg", "pack-raw", "pack-mixed"]

WRITE = """
import sys
from ffcv.fields import BytesField, FloatField, IntField, RGBImageField
from ffcv.writer import DatasetWriter
import numpy as np
from tests.pipelines.backends.test_ffcv import COUNT, image_of

class Samples:
    def __len__(self): return COUNT
    def __getitem__(self, i): return i / 8, image_of(i), np.full(i % 3 + 1, i, np.uint8), i * 7 % 5

for mode in ("jpg", "raw", "proportion"):
    fields = {"score": FloatField(), "image": RGBImageField(write_mode=mode, jpeg_quality=95),
              "blob": BytesField(), "label": IntField()}
    writer = DatasetWriter(f"{sys.argv[1]}/ffcv-{mode}.beton", fields, page_size=1 << 21, num_workers=1)
    writer.from_indexed_dataset(Samples())
"""


def image_of(number: int) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return photograph(number, 30 + 7 * number % 40, 30 + 11 * number % 40)


def write_files(folder: Path) -> None:
    """One of each of ``FILES``; in a process of its own where FFCV writes, since it forks."""
    subprocess.run(
        [sys.executable, "-c", WRITE, str(folder)],
        check=True,
        timeout=120,
        capture_output=True,
        cwd=ROOT,
    )
    for number in range(COUNT):
        name = folder / "images" / "abcde"[number * 7 % 5] / f"{number}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(simplejpeg.encode_jpeg(image_of(number), quality=95))
    for form, raw_share in (("jpg", None), ("raw", 1.0), ("mixed", 0.5)):
        dst = folder / f"pack-{form}.beton"
        pack(Options(src=str(folder / "images"), dst=dst, raw_share=raw_share, workers=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    write_files(path)
    return path


def source_of(path: Path) -> BetonSource:
    return open_beton(str(path), "train")


@pytest.fixture(scope="module")
def source(folder: Path) -> BetonSource:
    return source_of(folder / "pack-mixed.beton")


def open_ffcv(source: Any, plan: Plan = TRAINING, stop: int = 5, **options: Any) -> Loader:
    return open_with("ffcv", source, plan, stop, **{"workers": 1, "prefetch": 3, **options})


def load(source: Any, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    with open_ffcv(source, plan, **options) as loader:
        return [copied(batch) for batch in loader]


class DecodedByFfcv:
    """The same samples as pixels that FFCV's C++ code decodes, called on its own (a ``Source``)."""

    def __init__(self, source: BetonSource) -> None:
        self._source, self.index = source, source.index

    def read(self, number: int) -> np.ndarray:
        data = self._source.read(number)
        if isinstance(data, np.ndarray):
            return data
        height, width = int(self.index.heights[number]), int(self.index.widths[number])
        return decoded_by_ffcv(np.frombuffer(data, np.uint8), height, width)

    def describe(self, number: int) -> str:
        return self._source.describe(number)


def decoded_by_ffcv(data: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3]."""
    assert FfcvBackend.missing() is None  # imports it without its side effects
    pixels = np.empty((height, width, 3), np.uint8)
    imdecode = import_module("ffcv.libffcv").imdecode
    assert imdecode(data, pixels, height, width, height, width, 0, 0, 1, 1, False, False) == 0
    return pixels


# --- without FFCV -------------------------------------------------------------------------------------------


def write_one(path: Path) -> Path:
    write_beton(path, [BetonRow(image_of(1), sample_id=1, label=0)], capacity=1, class_names=("a",))
    return path


def open_ffcv_itself(source: Any) -> Loader:
    """Without the choice of who stands in for it where it is not installed."""
    options: dict[str, Any] = {"plan": TRAINING, "start_step": 0, "stop_step": 5, "groups": GROUPS}
    return Loader(LoaderConfig(source=source, bad_images=BadImages(None, COUNT), **options), FfcvBackend)


def test_without_ffcv_it_says_why_and_who_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ffcv.loader", None)  # what an import of it meets is an ImportError
    missing = FfcvBackend.missing()
    assert missing is not None
    assert missing.startswith("FFCV cannot be imported (")
    assert "pip install -e '.[ffcv]'" in missing
    with pytest.raises(UserError, match=r"FFCV cannot .*--pipeline cpu, which reads a\.beton too") as error:
        open_ffcv_itself(source_of(write_one(tmp_path / "a.beton")))
    assert "\n" not in str(error.value)


def test_other_sources_are_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nothing but \.beton files: .* pipelines\.pack .*--pipeline cpu"
    ) as error:
        open_ffcv_itself(MemorySource(COUNT))
    assert "\n" not in str(error.value)
    for name in ("train-0.beton", "train-1.beton"):
        write_one(tmp_path / name)
    with pytest.raises(UserError, match=r"one \.beton file, not 2: .*--pipeline cpu") as error:
        open_ffcv_itself(source_of(tmp_path / "train-*.beton"))
    assert "\n" not in str(error.value)


@needs_ffcv
def test_a_file_that_is_cut_short_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of it would end the process (SIGBUS), whenever the file is cut."""
    monkeypatch.setattr("pipelines.files.patience._PAUSES", ())
    path = tmp_path / "a.beton"
    rows = (BetonRow(image_of(number), sample_id=number, label=0) for number in range(COUNT))
    write_beton(path, rows, capacity=COUNT, class_names=("a",))
    with open_ffcv(source_of(path), stop=40, prefetch=1) as loader:
        batches = iter(loader)
        next(batches)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises((OSError, UserError), match=r"a\.beton.* has been cut short since it was opened"):
            for _ in batches:
                pass


def test_the_size_of_a_jpeg() -> None:
    for options in ({"colorspace": "GRAY"}, {"colorsubsampling": "420"}):
        pixels = image_of(5) if "colorsubsampling" in options else image_of(5)[:, :, :1].copy()
        data = np.frombuffer(simplejpeg.encode_jpeg(pixels, **options), np.uint8)
        assert jpeg_size(data) == pixels.shape[:2]
        for end in range(len(data)):
            assert jpeg_size(data[:end]) in ((0, 0), pixels.shape[:2])
    assert jpeg_size(np.zeros(100, np.uint8)) == (0, 0)


# --- conformance --------------------------------------------------------------------------------------------


@needs_ffcv
@pytest.mark.parametrize("name", FILES)
def test_it_follows_the_keys_and_the_reference(folder: Path, name: str) -> None:
    source = source_of(folder / f"{name}.beton")
    assert source.index.labels is not None
    share = source.raw.mean()
    assert {"jpg": share == 0, "raw": share == 1}.get(name.split("-")[1], 0 < share < 1)
    pixels = DecodedByFfcv(source)
    batches = load(source)
    for batch, same in zip(batches, load_threaded(pixels), strict=True):
        assert_same(batch, same)
    for batch in (batches[0], batches[3]):
        assert_follows_the_keys(batch, source, pixels.read)


@needs_ffcv
@pytest.mark.gpu
def test_batches_are_copied_to_a_gpu(source: BetonSource) -> None:
    expected = load_threaded(DecodedByFfcv(source), stop=30)
    for ours, theirs in zip(load(source, stop=30, device=GPU), expected, strict=True):
        assert_same(ours, theirs)


# --- pixels -------------------------------------------------------------------------------------------------


@needs_ffcv
def test_jpegs_are_decoded_by_the_fast_cosine_transform(tmp_path: Path) -> None:
    """To the bit. How far pixels and views are from the accurate one's: printed with ``-s``."""
    print("\nlevels of 255, pixels: mean  max   views: mean  max")
    for quality in (75, 90, 95, 100):
        files = [
            bytes(simplejpeg.encode_jpeg(photo, quality=quality, colorsubsampling="420"))
            for photo in load_sample_images().images
        ]
        path = tmp_path / f"{quality}.beton"
        rows = [BetonRow(data, number, 0) for number, data in enumerate(files)]
        write_beton(path, rows, capacity=len(rows), class_names=("a",))
        source = source_of(path)
        pixels = DecodedByFfcv(source)
        for number, data in enumerate(files):
            fast = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=False)
            np.testing.assert_array_equal(pixels.read(number), fast)
        of_pixels, of_views = differences(source, pixels)
        print(
            f"quality {quality:3}            {of_pixels.mean():5.2f} {of_pixels.max():4.0f}"
            f"         {of_views.mean():5.2f} {of_views.max():4.0f}"
        )


def differences(source: BetonSource, pixels: DecodedByFfcv) -> tuple[np.ndarray, np.ndarray]:
    """Of all pixels, and of 64 views of 224 pixels, in levels of 255."""
    of_pixels = [
        np.abs(pixels.read(number).astype(float) - decode(source.read(number))).reshape(-1)
        for number in range(len(source.index))
    ]
    plan = Plan(count=2, batch_size=2, batches_per_epoch=1, seed=3)
    spec = replace(SPEC, size=224, crop=RandomResizedCrop(), cutout=Cutout())
    groups = (ViewGroup(spec=spec, num_views=32),)
    ours, theirs = (
        load_threaded(of, plan, stop=1, groups=groups)[0].views[0].double() for of in (source, pixels)
    )
    of_views = (ours - theirs).abs() * torch.tensor(SPEC.std).view(3, 1, 1) * 255
    return np.concatenate(of_pixels), of_views.numpy()


# --- what FFCV cannot do ------------------------------------------------------------------------------------


def cut_off(data: bytearray) -> None:
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)


def spoil_tables(data: bytearray) -> None:
    """Huffman tables of nonsense, which neither the header nor the end of a JPEG tells."""
    begin = data.index(b"\xff\xc4")
    data[begin + 4 : begin + 68] = b"\xff" * 64


def make_smaller(data: bytearray) -> None:
    """A header that tells of one row less than the file's table."""
    begin = data.index(b"\xff\xc0")
    data[begin + 5 : begin + 7] = (int.from_bytes(data[begin + 5 : begin + 7], "big") - 1).to_bytes(2, "big")


def spoil(path: Path, row: int, change: Callable[[bytearray], None]) -> None:
    """Change the bytes of an image in a file."""
    table = read_table(path)
    begin, end = int(table.offsets[row]), int(table.offsets[row] + table.lengths[row])
    content = bytearray(path.read_bytes())
    data = content[begin:end]
    change(data)
    assert len(data) == end - begin
    content[begin:end] = data
    path.write_bytes(content)


@needs_ffcv
def test_the_cpu_backend_makes_what_ffcv_cannot(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "pack-jpg.beton", tmp_path))
    plan = evaluation_plan(COUNT, 4)
    clean = load_threaded(DecodedByFfcv(source_of(path)), plan, stop=6)
    for row, change in {1: cut_off, 6: spoil_tables, 7: cut_off, 13: make_smaller}.items():
        spoil(path, row, change)
    source = source_of(path)
    with pytest.raises(UndecodableImageError):
        decode(source.read(6))
    notes, theirs_notes = BadImages(None, COUNT), BadImages(None, COUNT)
    batches = load(source, plan, stop=6, bad_images=notes, workers=2)
    theirs = load_threaded(source, plan, stop=6, bad_images=theirs_notes)
    assert notes._names == theirs_notes._names
    assert len(notes) == 4
    for step, expected in enumerate([theirs[0], theirs[1], clean[2], theirs[3], clean[4], clean[5]]):
        assert_same(batches[step], expected)
    with open_ffcv(source, plan, stop=6, bad_images=BadImages(None, 1)) as loader:
        next(loader)
        with pytest.raises(UserError, match="2 images cannot be decoded, more than the 1 tolerated"):
            next(loader)
        with pytest.raises(UserError, match="3 images cannot be decoded, more than the 1 tolerated"):
            next(loader)  # the same batch


@needs_ffcv
def test_what_ffcv_only_warns_of_is_no_bad_image(tmp_path: Path) -> None:
    files = [bytes(simplejpeg.encode_jpeg(image_of(number))) for number in range(3)]
    files[1] = files[1][:-2] + bytes(16) + files[1][-2:]  # padding, which libjpeg finds extraneous
    rows = [BetonRow(data, number, 0) for number, data in enumerate(files)]
    path = tmp_path / "a.beton"
    write_beton(path, rows, capacity=3, class_names=("a",))
    plan, notes = evaluation_plan(3, 1), BadImages(None, 0)
    batches = load(source_of(path), plan, stop=3, bad_images=notes)
    assert_same(batches[1], load_threaded(source_of(path), plan, stop=3)[1])
    assert len(notes) == 0


# --- threads ------------------------------------------------------------------------------------------------


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What ``call`` returns or raises; an error where it takes longer."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(timeout=seconds)
    finally:
        pool.shutdown(wait=False)


@needs_ffcv
@pytest.mark.parametrize("culprit", ["feed", "pipeline"])
def test_an_error_in_ffcvs_thread_reaches_the_consumer(
    source: BetonSource, culprit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(what: Any) -> Any:
        calls.append(what)
        if len(calls) > 1:
            raise ZeroDivisionError("of a worker")
        return None if culprit == "pipeline" else rows(what)

    with open_ffcv(source, stop=40, workers=2, prefetch=2) as loader:
        backend: Any = loader._backend
        rows = backend._rows
        with monkeypatch.context() as patch:
            if culprit == "feed":
                patch.setattr(backend, "_rows", failing)
            else:
                patch.setattr(backend._loader.memory_manager.context, "start_batch", failing)
            assert within(60, lambda: next(loader)).step == 0
            for _ in range(2):  # it does not go away either
                with pytest.raises(ZeroDivisionError, match="of a worker"):
                    within(60, lambda: next(loader))
        assert [within(60, lambda: next(loader)).step for _ in range(4)] == [1, 2, 3, 4]


@needs_ffcv
def test_the_process_is_left_as_it_was(source: BetonSource) -> None:
    before, vector = torch.get_num_threads(), types.uint8[::1]
    try:
        torch.set_num_threads(3)
        with open_ffcv(source, workers=1) as loader:
            assert torch.get_num_threads() == 3
            next(loader)
            assert torch.get_num_threads() == 3
            assert within(60, torch.get_num_threads) == 3  # of a thread that has just begun
    finally:
        torch.set_num_threads(before)
    assert vector.mutable  # numba's type, of which there is one
