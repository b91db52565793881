"""``.beton`` files: one that FFCV wrote, others laid out byte by byte as its ``types.py`` says, and ours.

``data/ffcv.beton.xz`` was written by ffcv 1.0.2 with this script:

    import lzma, numpy as np
    from ffcv.writer import DatasetWriter
    from ffcv.fields import BytesField, FloatField, IntField, RGBImageField

    def pixels(i):
        y, x = np.mgrid[: 12 + i, : 16 + 2 * i]
        return np.stack([6 * x, 10 * y, 20 * i + 0 * x], axis=-1).astype(np.uint8)

    class Samples:
        def __len__(self): return 12
        def __getitem__(self, i):
            i = int(i)
            return i / 8, pixels(i), np.full(i % 3 + 1, i, np.uint8), i * i % 5, -i

    fields = {
        "score": FloatField(),
        "image": RGBImageField(write_mode="proportion", compress_probability=0.5, jpeg_quality=95),
        "blob": BytesField(), "label": IntField(), "minus": IntField(),
    }
    writer = DatasetWriter("/tmp/ffcv.beton", fields, page_size=1 << 21, num_workers=2)
    writer.from_indexed_dataset(Samples(), chunksize=2)
    open("ffcv.beton.xz", "wb").write(lzma.compress(open("/tmp/ffcv.beton", "rb").read(), preset=9))
"""

from __future__ import annotations

import io
import itertools
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.decode.decode import decode
from pipelines.keys import stable_id
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.beton.beton import BetonSource, open_beton
from pipelines.sources.beton.format import BetonRow, read_table, write_beton
from pipelines.sources.slices import FileSlices
from tests.helpers.beton_by_hand import (
    BYTES,
    CUSTOM,
    FLOAT,
    IMAGE,
    INT,
    PAGE,
    by_hand,
    jpeg,
    noise,
    ramp,
)
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused


@pytest.fixture(scope="module")
def written_by_ffcv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ffcv") / "ffcv.beton"
    path.write_bytes(lzma.decompress((Path(__file__).parent / "data" / "ffcv.beton.xz").read_bytes()))
    return path


# --- files of FFCV ------------------------------------------------------------------------------------------


def test_a_file_written_by_ffcv(written_by_ffcv: Path) -> None:
    source = open_beton(str(written_by_ffcv), "train")
    index = source.index
    assert index.heights.tolist() == [12 + i for i in range(12)]
    assert index.widths.tolist() == [16 + 2 * i for i in range(12)]
    assert index.heights.dtype == index.widths.dtype == np.int32
    assert labels_of(index) == [i * i % 5 for i in range(12)]
    assert index.sample_ids.dtype == np.int64
    assert index.class_names == ("0", "1", "2", "3", "4")
    assert index.sample_ids.tolist() == [stable_id(f"row-{i:08d}") for i in range(12)]
    assert source.describe(7) == f"{written_by_ffcv}:row-00000007"
    table = read_table(written_by_ffcv)
    assert set(table.numbers) == {"score", "label", "minus"}
    assert table.numbers["score"].tolist() == [i / 8 for i in range(12)]
    assert table.numbers["minus"].tolist() == [-i for i in range(12)]


def test_pixels_and_jpegs_of_a_file_written_by_ffcv(written_by_ffcv: Path) -> None:
    source = open_beton(str(written_by_ffcv), "train")
    assert 3 <= source.raw.sum() <= 9  # both kinds are there
    for number in (11, 0, 6, *range(12)):
        data = source.read(number)
        if source.raw[number]:
            assert isinstance(data, np.ndarray)
            np.testing.assert_array_equal(data, ramp(number))
            assert not data.flags.writeable
        else:
            assert isinstance(data, bytes)
            assert bytes(data[:2]) == b"\xff\xd8"
            assert bytes(data[-2:]) == b"\xff\xd9"  # not a byte more or less
            pixels = np.asarray(Image.open(io.BytesIO(data)), np.float64)
            # The JPEG loses a little; the next sample would be 20 levels off in blue.
            assert np.abs(pixels - ramp(number)).mean() < 5
        assert decode(data).shape == ramp(number).shape


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["label"], 0),
        (["other"], 0),  # the only one
        (["other", "label"], 1),
        (["other", "another"], None),
        (["sample_id"], None),
        (["sample_id", "target"], 1),
        ([], None),
    ],
)
def test_which_field_is_the_label(names: list[str], label: int | None, tmp_path: Path) -> None:
    fields = [("image", IMAGE), *((name, INT) for name in names), ("score", FLOAT)]
    rows = [[ramp(i), *((i + 3 * n) % 4 for n in range(len(names))), 0.5] for i in range(5)]
    index = open_beton(str(by_hand(tmp_path / "a.beton", fields, rows)), "train").index
    if label is None:
        assert index.labels is None
        assert index.class_names == ()
    else:
        assert labels_of(index) == [(i + 3 * label) % 4 for i in range(5)]
        assert index.class_names == ("0", "1", "2", "3")
    if "sample_id" in names:
        assert index.sample_ids.tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("value", [-1, (1 << 24) - 1, 1 << 24, 1 << 60])
def test_a_number_that_is_no_class_is_no_label(value: int, tmp_path: Path) -> None:
    """Names and counters per class would take gigabytes."""
    rows = [[ramp(0), 1], [ramp(1), value]]
    path = by_hand(tmp_path / "a.beton", [("image", IMAGE), ("label", INT)], rows)
    assert open_beton(str(path), "train").index.labels is None


@pytest.mark.parametrize("order", list(itertools.permutations(["image", "label", "score", "blob"])))
def test_fields_in_any_order(order: tuple[str, ...], tmp_path: Path) -> None:
    kinds = {"image": IMAGE, "label": INT, "score": FLOAT, "blob": BYTES}
    rows = []
    for i in range(3):
        values = {"image": jpeg(noise(8 + i, 9)), "label": 2 - i, "score": i / 4, "blob": bytes(i)}
        rows.append([values[name] for name in order])
    source = open_beton(str(by_hand(tmp_path / "a.beton", [(n, kinds[n]) for n in order], rows)), "train")
    assert source.index.heights.tolist() == [8, 9, 10]
    assert labels_of(source.index) == [2, 1, 0]
    assert [bytes(source.read(i)) for i in range(3)] == [row[order.index("image")] for row in rows]


def test_a_single_image_field_may_have_any_name(tmp_path: Path) -> None:
    source = open_beton(str(by_hand(tmp_path / "a.beton", [("photo", IMAGE)], [[ramp(3)]])), "train")
    np.testing.assert_array_equal(source.read(0), ramp(3))
    two = by_hand(tmp_path / "b.beton", [("mask", IMAGE), ("image", IMAGE)], [[ramp(3), ramp(4)]])
    np.testing.assert_array_equal(open_beton(str(two), "train").read(0), ramp(4))


# --- files that cannot be read ------------------------------------------------------------------------------


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def patched(offset: int, layout: str, value: int) -> Callable[[bytes], bytes]:
    def patch(data: bytes) -> bytes:
        content = struct.pack(layout, value)
        return data[:offset] + content + data[offset + len(content) :]

    return patch


NOT_WHOLE = r"a\.beton is no whole \.beton file.*copy or write it again"
FOREIGN = r"a\.beton is no \.beton file of FFCV's format version 2"
TABLE = 16  # where the header has the address of the table
ROWS = 24 + 1041 * 5  # where the rows of the committed file begin
SCORE = 8  # bytes; then mode, width, height and address of the image


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(0.99999), NOT_WHOLE),
        (cut(0.5), NOT_WHOLE),
        (lambda data: data[:-1], NOT_WHOLE),
        (lambda data: data[:-24], NOT_WHOLE),
        (lambda data: data[:1000], NOT_WHOLE),
        (lambda data: data[:10], FOREIGN),
        (lambda data: b"", FOREIGN),
        (lambda data: jpeg(ramp(0)), FOREIGN),
        (lambda data: b"garbage" * 1000, FOREIGN),
        (patched(0, "<H", 1), FOREIGN),
        (patched(4, "<I", PAGE + 1), FOREIGN),
        (patched(TABLE, "<Q", 0), NOT_WHOLE),  # what FFCV leaves if it is stopped while writing
        (patched(8, "<Q", 1 << 62), NOT_WHOLE),
        (patched(8, "<Q", 0), r"a\.beton holds no samples"),
        (patched(ROWS + SCORE, "<B", 7), NOT_WHOLE),  # mode
        (patched(ROWS + SCORE + 1, "<H", 17), NOT_WHOLE),  # width of pixels
        (patched(ROWS + SCORE + 5, "<Q", 12345), NOT_WHOLE),  # address
        (patched(ROWS + SCORE + 5, "<Q", (1 << 64) - 1), NOT_WHOLE),
    ],
)
def test_a_broken_or_foreign_file_is_refused_in_one_line(
    damage: Callable[[bytes], bytes], message: str, written_by_ffcv: Path, tmp_path: Path
) -> None:
    whole = written_by_ffcv.read_bytes()
    assert whole[ROWS + SCORE] == 1  # sample 0 is stored as pixels: the offsets above are right
    (tmp_path / "a.beton").write_bytes(damage(whole))
    with refused(message):
        open_beton(str(tmp_path / "a.beton"), "train")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("label", INT)], r"one image field.*found: none"),
        ([("left", IMAGE), ("right", IMAGE)], r"one image field.*found: left, right"),
        ([("image", IMAGE), ("mine", CUSTOM)], r"field 'mine' is of a type of its own"),
    ],
)
def test_fields_that_cannot_be_read(fields: list[tuple[str, int]], message: str, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "a.beton", fields, [[1 if kind != IMAGE else ramp(1) for _, kind in fields]])
    with pytest.raises(UserError, match=message):
        open_beton(str(path), "train")


# --- where they are looked for ------------------------------------------------------------------------------


def write_some(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    by_hand(path, [("image", IMAGE), ("label", INT)], [[ramp(i), i % 2] for i in range(count)])


def test_the_splits_of_a_folder_or_a_glob(tmp_path: Path) -> None:
    for name, count in (("train-0", 1), ("train-1", 2), ("val", 3), ("test", 4)):
        write_some(tmp_path / "data" / f"{name}.beton", count)
    for where in ("data", "data/*.beton", "data/*"):
        if where != "data/*":
            assert isinstance(open_source(str(tmp_path / where), "train"), BetonSource)
        assert len(open_beton(str(tmp_path / where), "train").index) == 3
        assert len(open_beton(str(tmp_path / where), "test").index) == 3
    source = open_source(str(tmp_path / "data" / "train-{0,1}.beton"), "train")
    assert source.index.heights.tolist() == [12, 12, 13]
    assert source.describe(2).endswith("train-1.beton:row-00000001")
    np.testing.assert_array_equal(source.read(2), ramp(1))
    # Row 0 of the second file is a sample of its own.
    assert source.index.sample_ids.tolist() == [
        stable_id("row-00000000"),
        stable_id("train-1.beton:row-00000000"),
        stable_id("row-00000001"),
    ]
    with pytest.raises(NoSplitError):
        open_source(str(tmp_path / "data" / "train-{0,1}.beton"), "test")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.beton", "val.beton"),
        ("train.beton", "test.beton"),
        ("train_500_0.50_90.ffcv", "val_500_0.50_90.ffcv"),
        ("imagenet-train.beton", "imagenet-val.beton"),
    ],
)
def test_the_test_split_beside_a_single_file(train: str, test: str, tmp_path: Path) -> None:
    write_some(tmp_path / train, 5)
    with pytest.raises(NoSplitError, match="no test split"):
        open_source(str(tmp_path / train), "test")
    write_some(tmp_path / test, 2)
    assert len(open_source(str(tmp_path / train), "train").index) == 5
    assert len(open_source(str(tmp_path / train), "test").index) == 2
    assert len(open_source(str(tmp_path / test), "train").index) == 2  # named by itself, it is all there is


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("missing.beton", "missing-*.beton"):
        with refused(r"missing.*\.beton"):
            open_source(str(tmp_path / name), "train")


def test_another_copy_is_the_same_data_and_another_file_is_not(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 3), ("c", 4)):
        write_some(tmp_path / name / "x.beton", count)
    prints = [open_beton(str(tmp_path / name / "x.beton"), "train").index.fingerprint for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


# --- reading ------------------------------------------------------------------------------------------------


def test_read_ahead_sweeps_over_the_bytes_of_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[tuple[int, int, int]] = []
    original = FileSlices._read

    def noted(self: FileSlices, file: int, offset: int, length: int) -> bytes:
        swept.append((file, offset, offset + length))
        return original(self, file, offset, length)

    monkeypatch.setattr("pipelines.sources.slices._PIECE", 5000)
    monkeypatch.setattr(FileSlices, "_read", noted)
    for name in "ab":
        rows = [BetonRow(noise(20 + n, 30, n), n, 0) for n in range(20)]
        write_beton(tmp_path / f"{name}.beton", rows, capacity=20, class_names=("x",))
    source = open_beton(str(tmp_path), "train")
    source.read_ahead(15, 27)  # five of the first file, seven of the second
    table = read_table(tmp_path / "a.beton")
    ends = table.offsets + table.lengths
    assert swept == sorted(swept)
    for file, rows_of_file in ((0, range(15, 20)), (1, range(7))):
        covered = {byte for f, first, end in swept if f == file for byte in range(first, end)}
        wanted = {byte for row in rows_of_file for byte in range(table.offsets[row], ends[row])}
        assert covered == wanted
        assert max(end - first for f, first, end in swept if f == file) <= 5000
