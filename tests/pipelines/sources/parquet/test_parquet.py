"""Parquet files as pyarrow and ``datasets`` write them, and what is wrong with others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.pack import Options, pack
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.parquet.parquet import ParquetSource
from pipelines.sources.source import ReadsAhead
from tests.helpers.encoded import encoded
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

pyarrow = pytest.importorskip(
    "pyarrow", reason="Parquet files are written by pyarrow: pip install -e '.[parquet]'"
)
parquet = pytest.importorskip("pyarrow.parquet")

WAYS: dict[str, dict[str, Any]] = {
    "as pyarrow does by itself": {},
    "without a dictionary": {"use_dictionary": False},
    "uncompressed": {"compression": "none"},
    "uncompressed, without a dictionary": {"compression": "none", "use_dictionary": False},
    "pages of version 2": {"data_page_version": "2.0", "use_dictionary": False},
    "pages of version 2, uncompressed": {"data_page_version": "2.0", "compression": "none"},
    "version 1": {"version": "1.0"},
    "small pages": {"data_page_size": 1, "write_batch_size": 2, "dictionary_pagesize_limit": 1},
    "content-defined chunks": {"use_content_defined_chunking": True, "write_page_index": True},
    "zstd": {"compression": "zstd"},
    "gzip": {"compression": "gzip", "data_page_version": "2.0", "use_dictionary": False},
    "lz4": {"compression": "lz4"},
    "brotli": {"compression": "brotli", "use_dictionary": False},
}

pytestmark = pytest.mark.usefixtures("own_cache")


def jpeg(number: int) -> bytes:
    """An image whose size tells its number; noise for Snappy, and then a flat half."""
    pixels = np.random.default_rng(number).integers(0, 256, (100 + number, 150, 3), dtype=np.uint8)
    pixels[:, 75:] = number
    return bytes(simplejpeg.encode_jpeg(pixels, quality=95))


def bmp(number: int) -> bytes:
    """An image that Snappy makes smaller."""
    return encoded(Image.new("RGB", (90, 200 + number), (number, 2, 3)), "BMP")


IMAGES = [bmp(n) if n % 4 == 3 else jpeg(n) for n in range(23)]


def rows(images: Sequence[bytes | None], paths: Sequence[str | None] | None = None) -> Any:
    """A column as ``datasets`` writes images."""
    names = paths or [None] * len(images)
    values = [
        None if image is None else {"bytes": image, "path": path}
        for image, path in zip(images, names, strict=True)
    ]
    return pyarrow.array(values, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **how: Any) -> Path:
    table = pyarrow.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **{"row_group_size": 9, **how})
    return path


def classes(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


@pytest.mark.parametrize("way", WAYS)
def test_each_image_is_read_as_it_was_written(way: str, tmp_path: Path) -> None:
    images: list[bytes | None] = [*IMAGES]
    images[4] = images[17] = None
    labels = [n % 3 for n in range(23)]
    path = write(tmp_path / "a.parquet", {"image": rows(images), "label": labels}, **WAYS[way])
    source = open_source(str(path), "train")
    kept = [n for n in range(23) if n not in (4, 17)]
    assert [source.read(i) for i in range(21)] == [images[n] for n in kept]
    assert source.index.heights.tolist() == [200 + n if n % 4 == 3 else 100 + n for n in kept]
    assert labels_of(source.index) == [n % 3 for n in kept]
    assert source.describe(4) == f"{path}:row 5"
    assert any("2 rows without an image" in note for note in source.index.notes)
    assert isinstance(source, ReadsAhead)
    source.read_ahead(3, 20)
    again = open_source(str(path), "train")  # from the cache
    assert [again.read(i) for i in range(21)] == [images[n] for n in kept]
    assert again.index.fingerprint == source.index.fingerprint


def test_an_image_costs_itself_whatever_the_row_group(tmp_path: Path) -> None:
    """With pyarrow's defaults all images lie in one page: at most 64 KiB before and after one are read."""
    images = [np.random.default_rng(n).bytes(200_000) for n in range(40)]
    write(tmp_path / "a.parquet", {"image": images}, row_group_size=40)
    source = open_source(str(tmp_path / "a.parquet"), "train")
    assert isinstance(source, ParquetSource)
    assert source._table[:, 1].max() < 200_000 + 140_000
    assert not source.index.notes
    assert source.read(17) == images[17]


def test_a_codec_without_random_access_says_what_it_costs(tmp_path: Path) -> None:
    images = [np.random.default_rng(n).bytes(20_000) for n in range(40)]
    write(tmp_path / "a.parquet", {"image": images}, row_group_size=40, compression="zstd")
    (note,) = open_source(str(tmp_path / "a.parquet"), "train").index.notes
    assert "0.8 MB are decoded, for zstd" in note
    assert "pipelines.pack" in note


def test_plain_bytes_and_other_names(tmp_path: Path) -> None:
    columns = {"photo": IMAGES, "kind": ["b", "a"] * 11 + ["c"], "label": [1.5] * 23}
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError, match=r"no column of images: it has photo, kind, label; choose with"):
        open_source(str(tmp_path / "a.parquet"), "train")
    index = open_source(f"{tmp_path}/a.parquet?image=photo", "train").index
    assert index.labels is None
    assert index.notes == ("labels are not used: column label holds neither numbers nor text",)
    index = open_source(f"{tmp_path}?image=photo&label=kind", "train").index
    assert index.class_names == ("a", "b", "c")
    assert labels_of(index) == [1, 0] * 11 + [2]


def test_names_of_classes_are_those_of_the_metadata(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": classes("cat", "dog", "emu")}
    write(tmp_path / "train-0.parquet", {"image": rows(IMAGES), "label": [1, 0] * 11 + [1]}, features)
    index = open_source(str(tmp_path), "train").index
    assert index.class_names == ("cat", "dog", "emu")
    other = {"pixels": {"_type": "Image"}, "species": classes("cat", "dog")}
    write(tmp_path / "b" / "a.parquet", {"pixels": rows(IMAGES), "species": [1, 0] * 11 + [1]}, other)
    assert open_source(str(tmp_path / "b"), "train").index.class_names == ("cat", "dog")
    two = {"img": {"_type": "Image"}, "fine": classes("cat"), "coarse": classes("animal")}
    write(tmp_path / "c" / "a.parquet", {"img": rows(IMAGES), "fine": [0] * 23, "coarse": [0] * 23}, two)
    index = open_source(str(tmp_path / "c"), "train").index
    assert index.labels is None
    assert "there are fine and coarse; choose with --data 'FILES?label=fine'" in index.notes[0]
    assert open_source(f"{tmp_path}/c?label=coarse", "train").index.class_names == ("animal",)


@pytest.mark.parametrize(
    ("names", "where"),
    [
        (["data/train-0-of-2", "data/train-1-of-2", "data/validation-0-of-1", "data/test-0-of-1"], "."),
        (["data/train-0-of-2", "data/train-1-of-2", "data/validation-0-of-1"], "data/*.parquet"),
        (["train/0000", "train/0001", "validation/0000", "test/0000"], "."),
        (["train_a", "train_b", "val"], "."),
    ],
)
def test_splits_are_those_of_the_hub(
    names: list[str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(names):
        write(tmp_path / f"{name}.parquet", {"image": [IMAGES[number]], "label": ["bcad"[number]]})
    monkeypatch.chdir(tmp_path)
    train, test = open_source(where, "train"), open_source(where, "test")
    assert [train.read(i) for i in range(len(train.index))] == IMAGES[:2]
    assert [test.read(i) for i in range(len(test.index))] == IMAGES[2:3]
    assert train.index.class_names == test.index.class_names == ("a", "b", "c")


def test_without_a_test_split(tmp_path: Path) -> None:
    for folder in ("plain", "folders/train"):
        write(tmp_path / folder / "0.parquet", {"image": IMAGES})
    for where in ("plain", "folders"):
        assert len(open_source(str(tmp_path / where), "train").index) == 23
        with pytest.raises(NoSplitError):
            open_source(str(tmp_path / where), "test")


@pytest.mark.parametrize("paths", ["distinct", "dotted", "repeated", "none"])
def test_packed_into_shards_an_image_keeps_its_id(paths: str, tmp_path: Path) -> None:
    names = {
        "distinct": [f"kind{n % 2}/{n}.jpg" for n in range(23)],
        "dotted": [f"{n}.a.jpg" for n in range(23)],
        "repeated": [f"{n % 7}.jpg" for n in range(23)],
        "none": None,
    }[paths]
    features = {"label": classes("cat", "dog", "emu")}
    for part, span in enumerate((slice(0, 10), slice(10, 23))):
        image = rows(IMAGES[span], names and names[span])
        columns = {"image": image, "label": [0, 1] * 5 + [1] * 3 * part}
        write(tmp_path / f"in/train-{part}-of-2.parquet", columns, features)
    source = open_source(str(tmp_path / "in"), "train")
    pack(Options(src=str(tmp_path / "in"), dst=tmp_path / "out", workers=1))
    packed = open_source(str(tmp_path / "out"), "train")
    assert packed.index.sample_ids.tolist() == source.index.sample_ids.tolist()
    assert [packed.read(i) for i in range(23)] == IMAGES
    assert labels_of(packed.index) == labels_of(source.index)
    assert packed.index.class_names == source.index.class_names[:2]
    assert isinstance(source, ParquetSource)
    assert source.key(12) == ("kind0/12" if paths == "distinct" else "train-1-of-2/00000002")


def test_missing_labels_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"image": IMAGES, "label": [0, 1, None, -1, *[0] * 19]})
    index = open_source(str(tmp_path / "a.parquet"), "train").index
    assert index.labels is None
    assert "2 of 23 images" in index.notes[0]


def damaged(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + 40] = b"\xaa" * 40
    path.write_bytes(data)


URLS = ["https://example.org/a.jpg"] * 23
BAD_COLUMNS: dict[str, dict[str, Any]] = {
    "addresses": {"image": URLS},
    "paths": {"image": pyarrow.array([{"bytes": None, "path": url} for url in URLS], rows([]).type)},
    "only addresses": {"url": URLS, "text": URLS},
    "nulls": {"image": rows([None] * 23)},
    "lists": {"image": [[image] for image in IMAGES]},
    "numbers": {"image": list(range(23))},
    "no rows": {"image": rows([])},
}


def write_bad(folder: Path, kind: str) -> None:
    good: dict[str, Any] = {"image": rows(IMAGES), "label": [0] * 23}
    path, other = folder / "train-0.parquet", folder / "train-1.parquet"
    write(path, BAD_COLUMNS.get(kind, good), None if kind in BAD_COLUMNS else {"label": classes("cat")})
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "damaged page":
        damaged(path, 4)
    elif kind == "damaged footer":
        damaged(path, path.stat().st_size - 300)
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif kind == "other image":
        write(other, {"img": rows(IMAGES), "label": [0] * 23})
    elif kind == "other classes":
        write(other, good, {"label": classes("dog")})
    elif kind == "no label":
        write(other, {"image": rows(IMAGES)})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("addresses", "column image holds text .names or addresses of images., not their bytes: download"),
        ("paths", "column image holds names or addresses of images, not their bytes"),
        ("only addresses", "has no column of images: it has url, text"),
        ("nulls", "column image holds nulls only"),
        ("lists", "column image must hold the bytes of one image per row"),
        ("numbers", "column image must hold the bytes of one image per row"),
        ("no rows", "no images in .*: its files have no rows"),
        ("truncated", "train-0.parquet is no whole Parquet file .*: copy or write it again"),
        ("damaged page", "train-0.parquet is no whole Parquet file .*: copy or write it again"),
        ("damaged footer", "train-0.parquet is no whole Parquet file .*: copy or write it again"),
        ("pointer", "is a pointer of Git LFS: run git lfs pull"),
        ("other image", "train-1.parquet has its images in column img.bytes, and train-0.parquet image"),
        ("other classes", "train-1.parquet names its classes dog, and train-0.parquet cat"),
        ("no label", "train-1.parquet has its labels in column .none., and train-0.parquet label"),
    ],
)
def test_what_is_wrong_is_one_line(kind: str, words: str, tmp_path: Path) -> None:
    write_bad(tmp_path / "data", kind)
    with refused(words):
        open_source(str(tmp_path / "data"), "train")


def test_damage_anywhere_is_one_line_or_no_harm(tmp_path: Path) -> None:
    """Flipped bytes of pages, headers and footer: an image is read, or refused; nothing else happens."""
    refused = 0
    for way in ("as pyarrow does by itself", "pages of version 2, uncompressed", "zstd"):
        columns = {"image": rows(IMAGES[:4]), "label": [0, 1, 2, 0]}
        whole = write(tmp_path / "whole.parquet", columns, **WAYS[way]).read_bytes()
        rng = np.random.default_rng(0)
        for case in range(30):
            data = bytearray(whole)
            at = int(rng.integers(len(data))) if case % 3 else len(data) - 1 - int(rng.integers(1200))
            data[at : at + 3] = rng.bytes(3)
            path = tmp_path / f"{case}.parquet"
            path.write_bytes(data)
            try:
                source = open_source(str(path), "train")
                for index in range(len(source.index)):
                    source.read(index)
            except (UserError, OSError):
                refused += 1
    assert refused > 9  # of 90; bytes of an image itself are for the decoder to judge


def test_a_file_that_changes_under_a_run_is_an_error(tmp_path: Path) -> None:
    for way in ("as pyarrow does by itself", "zstd"):
        path = write(tmp_path / "a.parquet", {"image": IMAGES}, **WAYS[way])
        source = open_source(str(path), "train")
        damaged(path, int(source._table[0, 0]))  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="has changed since it was opened"):
            source.read(0)
        path.write_bytes(path.read_bytes()[:10])
        with pytest.raises(OSError, match="cut short"):
            source.read(0)


@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_the_real_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image folder that ``datasets`` writes as Parquet."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="the Hugging Face library writes them")
    monkeypatch.setattr("datasets.arrow_dataset.generate_fingerprint", str)  # fails with some pyarrow
    for n, image in enumerate(IMAGES):
        path = tmp_path / "images" / ("cat" if n % 3 else "dog") / f"{n}.{'bmp' if n % 4 == 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    paths = sorted((tmp_path / "images").rglob("*.*"))
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}

    def write_hub(images: list[Any]) -> None:
        columns = {"image": images, "label": [int(path.parent.name == "dog") for path in paths]}
        data = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        data.to_parquet(str(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet"))

    write_hub(list(map(str, paths)))
    with pytest.raises(UserError, match="names or addresses of images, not their bytes"):
        open_source(str(tmp_path / "hub"), "train")
    write_hub([{"bytes": path.read_bytes(), "path": path.name} for path in paths])  # as push_to_hub does
    source = open_source(str(tmp_path / "hub"), "train")
    folder = open_source(str(tmp_path / "images"), "train")
    assert [source.read(i) for i in range(23)] == [folder.read(i) for i in range(23)]
    assert labels_of(source.index) == labels_of(folder.index)
    assert source.index.class_names == folder.index.class_names
    assert source.index.sample_ids.tolist() != folder.index.sample_ids.tolist()  # it keeps no folders
