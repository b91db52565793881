"""Damaged files of the cache are made again; damaged lists give one line with their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.sources import Source, folder, image_list
from pipelines.sources.shards import open_split as open_shards
from pipelines.sources.shards import write_shard
from tests.helpers.mutations import damaged_files, few_and_many, mutations, one_line


def images(root: Path) -> list[Path]:
    """Three small images in two classes."""
    paths = [root / name for name in ("a/0.png", "a/1.png", "b/2.png")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5 + number, 7), (number, 2, 3)).save(path)
    return paths


@few_and_many(500, 5_000)
def test_damaged_caches(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache, paths = tmp_path, tmp_path / "cache", images(tmp_path / "data")
    samples = [(str(n), {"png": path.read_bytes(), "cls": b"%d" % n}) for n, path in enumerate(paths)]
    write_shard(root / "a.tar", samples)
    sources: dict[str, Callable[[], Source]] = {
        "shard": lambda: open_shards(str(root / "a.tar"), "train", cache),
        "folder": lambda: folder.open_split(str(root / "data"), "train", cache),
    }
    for name, open_it in sources.items():
        whole = open_it().index
        (kept,) = cache.glob(f"{name}-*.npz")
        content = kept.read_bytes()
        with monkeypatch.context() as patch:
            for module in ("shard_index", "image_sizes"):
                patch.setattr(f"pipelines.sources.{module}.save_arrays", lambda path, arrays: None)
            for _ in damaged_files(kept, mutations([content], count)):
                index = open_it().index
                assert index.fingerprint == whole.fingerprint
                np.testing.assert_array_equal(index.heights, whole.heights)
                np.testing.assert_array_equal(index.widths, whole.widths)


@few_and_many(500, 5_000)
def test_damaged_lists(count: int, tmp_path: Path) -> None:
    images(tmp_path)
    where = tmp_path / "train.tsv"
    seeds = [b"a/0.png\tcat\na/1.png\tdog\nb/2.png\tcat\n", b"a/0.png\r\n\r\nb/2.png\r\n"]
    opened = 0
    for _ in damaged_files(where, mutations(seeds, count)):
        try:
            source = image_list.open_split(str(where), "train", tmp_path / "cache")
        except UserError as error:
            one_line(error, str(where))
            continue
        opened += 1
        for number in range(len(source.index)):
            source.read(number)
    assert count / 20 < opened < count
