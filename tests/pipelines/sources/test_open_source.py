"""``open_source``: the right reader for what the user names, and the cache folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pipelines.files.cache_folder import cache_folder
from pipelines.sources import open_source
from pipelines.sources.folder import FolderSource
from pipelines.sources.shards import ShardSource, write_shard
from tests.helpers.encoded import encoded
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("own_cache")


def jpeg() -> bytes:
    return encoded(Image.new("RGB", (30, 20), (200, 100, 50)))


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg())


def test_folders_and_shards_are_told_apart(tmp_path: Path, own_cache: Path) -> None:
    write_image(tmp_path / "folder" / "cat" / "a.jpg")
    for name in ("train-0", "val-0"):
        write_shard(tmp_path / "shards" / f"{name}.tar", [("a", {"jpg": jpeg()})])
    assert isinstance(open_source(str(tmp_path / "folder"), "train"), FolderSource)
    for where in ("shards", "shards/*.tar", "shards/train-{0..0}.tar", "shards/val-0.tar"):
        source = open_source(str(tmp_path / where), "train")
        assert isinstance(source, ShardSource)
        assert len(source.index) == 1
    assert open_source(str(tmp_path / "shards"), "test").describe(0).endswith("val-0.tar:a.jpg")
    assert len(list(own_cache.iterdir())) == 3


def test_class_folders_go_before_tars_beside_them(tmp_path: Path) -> None:
    write_image(tmp_path / "imagenet" / "train" / "cat" / "a.jpg")
    write_image(tmp_path / "imagenet" / "val" / "cat" / "a.jpg")
    write_shard(tmp_path / "imagenet" / "ILSVRC2012_img_train.tar", [("a", {"jpg": jpeg()})])
    assert isinstance(open_source(str(tmp_path / "imagenet"), "test"), FolderSource)


def test_scenes_are_built_in(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path, str]] = []

    def open_scenes(split: str, cache: Path, variant: str) -> str:
        asked.append((split, cache, variant))
        return "the scenes"

    monkeypatch.setitem(
        sys.modules, "pipelines.sources.scenes.scenes", SimpleNamespace(open_scenes=open_scenes)
    )
    assert open_source("scenes", "test") == "the scenes"  # type: ignore[comparison-overlap]
    assert open_source("scenes:fixed=texture", "train") == "the scenes"  # type: ignore[comparison-overlap]
    assert asked == [("test", own_cache, ""), ("train", own_cache, "fixed=texture")]
    write_image(tmp_path / "scenes" / "cat" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source("./scenes", "train"), FolderSource)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", ["no such folder or file", "missing"]),
        ("missing.tar", ["no file matches", "missing.tar"]),
        ("missing-*.tar", ["no file matches", "missing-*.tar"]),
        ("empty", ["no images in", "empty"]),
        ("data.beton", ["data.beton", "no .beton file of FFCV's format version 2"]),
        ("picture.jpg", ["picture.jpg is no data of a known kind", "folder of images"]),
        ("false.tar", ["false.tar is no whole tar file"]),
    ],
)
def test_a_mistake_is_named_in_one_line(name: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("data.beton", "picture.jpg", "false.tar"):
        (tmp_path / file).write_bytes(jpeg())
    with refused(*map(re.escape, words)):
        open_source(str(tmp_path / name), "train")


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "pictures" / "a.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    index = open_source("~/pictures", "train").index
    assert (index.heights.tolist(), index.widths.tolist()) == ([20], [30])


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("FASTSSL_CACHE")
    assert cache_folder() == tmp_path / "shared" / "fastssl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "fastssl"
