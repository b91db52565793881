"""The benchmark of openings: links are as many images as asked for, and an opening is measured."""

import tarfile
from pathlib import Path

import pytest

from benchmarks.report import markdown
from benchmarks.result import result_of
from benchmarks.start import linked_files, one_shard, opening


@pytest.mark.usefixtures("own_cache")
def test_an_opening_of_linked_files(tmp_path: Path) -> None:
    with linked_files(130) as folder:
        assert len(list(folder.rglob("*.jpg"))) == 130
        assert len(list(folder.iterdir())) == 100
        taken = opening(str(folder), 64)
    assert taken.keys() == {"core_s", "wall_s", "peak_mb", "core_us_per_image"}
    assert taken["core_s"] > 0
    assert taken["core_us_per_image"] > 0
    assert list((tmp_path / "cache").glob("folder-*.npz"))
    assert not folder.exists()


@pytest.mark.usefixtures("own_cache")
def test_a_set_smaller_than_a_batch_is_read_too() -> None:
    with one_shard(3) as shard:
        assert opening(str(shard), 3)["core_us_per_image"] > 0


def test_a_shard_holds_them_all() -> None:
    with one_shard(130) as shard, tarfile.open(shard) as opened:
        names = [member.name for member in opened if member.isfile()]
    assert names == [f"{number:07}.jpg" for number in range(130)]
    assert not shard.exists()


def test_its_table() -> None:
    rows = [
        {"kind": "shard", "files": 10_000, "cache": cache, "core_s": 1.25, "wall_s": 2.0, "peak_mb": 12.5}
        | {"core_us_per_image": 412.3}
        for cache in ("empty", "filled")
    ]
    assert "| shard | 10,000 | filled | 1.25 | 12 | 412 |" in markdown(result_of("start", [], rows))
