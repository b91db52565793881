"""``.beton`` files of our own are read back, here and by FFCV, and what FFCV writes is read here."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.decode.decode import decode
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import BetonRow, write_beton
from tests.helpers.beton_by_hand import as_array, jpeg, noise, ramp
from tests.helpers.encoded import encoded
from tests.helpers.known_labels import labels_of


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    images: list[bytes | memoryview | np.ndarray] = [
        jpeg(noise(40, 30)),
        noise(20, 31, 1),
        memoryview(jpeg(noise(7, 300))),
        noise(1, 1),
    ]
    rows = [BetonRow(image, sample_id=(-9) ** (n * 6), label=n % 2) for n, image in enumerate(images)]
    path = tmp_path / "new" / "a.beton"
    write_beton(path, iter(rows), capacity=10, class_names=("Käse", "über", "none of it"))
    source = open_beton(str(path), "train")
    index = source.index
    assert index.sample_ids.tolist() == [1, 531441, 282429536481, 150094635296999121]
    assert index.heights.tolist() == [40, 20, 7, 1]
    assert index.widths.tolist() == [30, 31, 300, 1]
    assert labels_of(index) == [0, 1, 0, 1]
    assert index.class_names == ("Käse", "über", "none of it")
    for number, image in enumerate(images):
        np.testing.assert_array_equal(as_array(source.read(number)), as_array(image))
    first = path.read_bytes()
    write_beton(path, rows, capacity=10, class_names=("Käse", "über", "none of it"))
    assert path.read_bytes() == first


def test_no_classes_no_labels(tmp_path: Path) -> None:
    write_beton(tmp_path / "a.beton", [BetonRow(ramp(0), 7, -1)], capacity=1, class_names=None)
    index = open_beton(str(tmp_path / "a.beton"), "train").index
    assert index.labels is None
    assert index.sample_ids.tolist() == [7]


def test_files_that_name_classes_differently_do_not_go_together(tmp_path: Path) -> None:
    for name in "ab":
        write_beton(tmp_path / f"{name}.beton", [BetonRow(ramp(0), 7, 0)], capacity=1, class_names=(name,))
    with pytest.raises(UserError, match="name their classes differently"):
        open_beton(str(tmp_path), "train")


def test_nothing_reaches_over_the_end_of_a_page(tmp_path: Path) -> None:
    """FFCV reads page by page: header, table and pages are taken apart here with ``struct``."""
    sides = [1200, 900, 1600, 300, 1700, 2000, 100, 1500]  # 1700 * 1700 * 3 is more than 8 MiB
    images = [np.full((side, side, 3), n, np.uint8) for n, side in enumerate(sides)]
    rows = [BetonRow(image, n, n) for n, image in enumerate(images)]
    write_beton(tmp_path / "a.beton", rows, capacity=8, class_names=tuple("abcdefgh"))
    data = (tmp_path / "a.beton").read_bytes()
    version, fields, page, samples, table = struct.unpack_from("<HHIQQ", data)
    assert (version, fields, samples) == (2, 3, 8)
    assert page == 1 << 24  # 8 MiB are not enough for 2000 * 2000 * 3 bytes
    assert len(data) - table == 24 * 8
    for number, (image, side) in enumerate(zip(images, sides, strict=True)):
        sample, address, size = struct.unpack_from("<QQQ", data, table + 24 * number)
        assert (sample, size) == (number, side * side * 3)
        assert address // page == (address + size - 1) // page
        mode, width, height, place = struct.unpack_from("<BHHQ", data, 24 + 1041 * 3 + 32 * number)
        assert (mode, width, height, place) == (1, side, side, address)
        assert data[address : address + size] == image.tobytes()
        assert struct.unpack_from("<qq", data, 24 + 1041 * 3 + 32 * number + 16) == (number, number)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (encoded(Image.fromarray(ramp(3)), orientation=6), "orientation 6"),
        (encoded(Image.fromarray(ramp(3)).convert("CMYK")), "4 components"),
        (np.zeros((1, 65536, 3), np.uint8), "65535"),
        (np.zeros((4, 4), np.uint8), "uint8"),
        (np.zeros((4, 4, 3), np.float32), "uint8"),
    ],
)
def test_what_ffcv_could_not_read_is_not_written(
    image: bytes | np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_beton(tmp_path / "a.beton", [BetonRow(image, 0, 0)], capacity=1, class_names=("a",))
    assert list(tmp_path.iterdir()) == []


NEEDS_FFCV = "ffcv is not installed (it needs libturbojpeg and OpenCV's headers): pip install ffcv==1.0.2"

WRITE = """
import sys
import numpy as np
from ffcv.fields import FloatField, IntField, RGBImageField
from ffcv.writer import DatasetWriter

class Samples:
    def __len__(self): return 40
    def __getitem__(self, i):
        y, x = np.mgrid[: 30 + i, : 40 + 2 * i]
        pixels = np.stack([3 * x, 5 * y, 6 * i + 0 * x], axis=-1).astype(np.uint8)
        return pixels, int(i) % 7, i / 8

mode = {"smart": {"smart_threshold": 9000}, "proportion": {"compress_probability": 0.5}}.get(sys.argv[2], {})
fields = {"image": RGBImageField(write_mode=sys.argv[2], **mode), "label": IntField(), "score": FloatField()}
writer = DatasetWriter(sys.argv[1], fields, page_size=1 << 21, num_workers=2)
writer.from_indexed_dataset(Samples(), chunksize=3)
"""

LOAD = """
import sys
import numpy as np
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption

found = {}
for order in OrderOption:
    for os_cache in (True, False):
        loader = Loader(sys.argv[1], batch_size=8, num_workers=1, order=order, os_cache=os_cache, seed=1,
                        pipelines={"image": [SimpleRGBImageDecoder()]}, drop_last=False)
        images, labels, ids = [], [], []
        for image, label, sample_id in loader:
            images.append(image.copy())
            labels.append(label.numpy().copy())
            ids.append(sample_id.numpy().copy())
        name = f"{order.name}-{os_cache}"
        found |= {name + "-images": np.concatenate(images), name + "-labels": np.concatenate(labels)[:, 0],
                  name + "-ids": np.concatenate(ids)[:, 0]}
np.savez(sys.argv[2], **found)
"""


def run_with_ffcv(script: str, *arguments: str) -> None:
    """In a process of its own: importing FFCV changes torch's threads, and its workers may hang."""
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=300, capture_output=True)


@pytest.mark.parametrize("mode", ["jpg", "raw", "smart", "proportion"])
def test_modes_of_ffcv(mode: str, tmp_path: Path) -> None:
    pytest.importorskip("ffcv", reason=NEEDS_FFCV)
    path = tmp_path / "a.beton"
    run_with_ffcv(WRITE, str(path), mode)
    source = open_beton(str(path), "train")
    assert source.index.heights.tolist() == [30 + i for i in range(40)]
    assert labels_of(source.index) == [i % 7 for i in range(40)]
    assert {"jpg": source.raw.sum() == 0, "raw": source.raw.all()}.get(mode, 0 < source.raw.sum() < 40)
    for i in range(40):
        y, x = np.mgrid[: 30 + i, : 40 + 2 * i]
        expected = np.stack([3 * x, 5 * y, 6 * i + 0 * x], axis=-1).astype(np.uint8)
        pixels = decode(source.read(i))
        if source.raw[i]:
            np.testing.assert_array_equal(pixels, expected)
        else:
            assert np.abs(pixels.astype(int) - expected).mean() < 5


def test_ffcv_loads_what_is_written_here(tmp_path: Path) -> None:
    pytest.importorskip("ffcv", reason=NEEDS_FFCV)
    generator = np.random.default_rng(0)
    rows, expected = [], []
    for n in range(60):
        small = generator.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC))
        image = pixels if n % 3 == 0 else jpeg(pixels)
        expected.append(pixels if n % 3 == 0 else decode(image))
        rows.append(BetonRow(image, sample_id=(n - 30) * 10**15, label=n % 5))
    path = tmp_path / "a.beton"  # some 12 MB: two pages
    write_beton(path, rows, capacity=70, class_names=tuple("abcde"))
    run_with_ffcv(LOAD, str(path), str(tmp_path / "found.npz"))
    found = np.load(tmp_path / "found.npz")
    for order in ("SEQUENTIAL", "RANDOM", "QUASI_RANDOM"):
        for os_cache in (True, False):
            ids = found[f"{order}-{os_cache}-ids"]
            numbers = ids // 10**15 + 30
            assert sorted(numbers.tolist()) == list(range(60))
            assert (order == "SEQUENTIAL") == (numbers.tolist() == list(range(60)))
            assert found[f"{order}-{os_cache}-labels"].tolist() == (numbers % 5).tolist()
            for number, pixels in zip(numbers, found[f"{order}-{os_cache}-images"], strict=True):
                difference = np.abs(pixels.astype(int) - expected[number])
                # Its JPEG decoder takes a coarser cosine transform.
                assert difference.max() <= (0 if number % 3 == 0 else 9)
