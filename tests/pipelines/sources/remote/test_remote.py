"""Remote data over a server on loopback: equal to the same files on a disk, whatever fails on the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.pack import Options, pack
from pipelines.sources import NoSplitError, Source, open_source
from pipelines.sources.remote.kept_index import BESIDE, index_beside
from pipelines.sources.shard_index import read_shard
from tests.helpers import ROOT
from tests.helpers.storage_server import Fault, storage_server

RANGE = "/train-{000..003}.tar"


def contents(source: Source) -> list[bytes]:
    return [bytes(source.read(index)) for index in range(len(source.index))]


def assert_equal(remote: Source, local: Source) -> None:
    assert remote.index.fingerprint == local.index.fingerprint
    np.testing.assert_array_equal(remote.index.sample_ids, local.index.sample_ids)
    np.testing.assert_array_equal(remote.index.labels, local.index.labels)
    np.testing.assert_array_equal(remote.index.heights, local.index.heights)
    assert contents(remote) == contents(local)


def test_shards_are_those_of_the_disk_and_each_is_fetched_once(data: Path) -> None:
    with storage_server(data) as server:
        remote = open_source(server.url + RANGE, "train")
        assert_equal(remote, open_source(str(data), "train"))
        assert remote.describe(7) == f"{server.url}/train-001.tar:1-2.jpg"
        with ThreadPoolExecutor(8) as pool:
            again = open_source(server.url + RANGE, "train")
            assert list(pool.map(again.read, range(20))) == contents(remote)
        assert server.begun == dict.fromkeys((f"train-00{shard}.tar" for shard in range(4)), 1)
        with pytest.raises(NoSplitError):
            open_source(server.url + RANGE, "test")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("fault", ["500", "503", "cut", "truncated"])
def test_what_may_pass_is_tried_again(data: Path, fault: Fault, ranges: bool) -> None:
    with storage_server(data, ranges=ranges) as server:
        server.faults.extend([fault] * 5)
        assert_equal(open_source(server.url + RANGE, "train"), open_source(str(data), "train"))
        assert not server.faults


def test_a_server_that_stays_broken_is_one_line(data: Path, cache: Path) -> None:
    with storage_server(data) as server:
        server.faults.extend(repeat("503", 7))
        with pytest.raises(UserError, match=r"train-000\.tar: the server answers 503 .* \(7 tries\)"):
            open_source(f"{server.url}/train-000.tar", "train")
        server.faults.append("403")
        with pytest.raises(UserError, match="the server answers 403"):
            open_source(f"{server.url}/train-000.tar", "train")
        assert all(path.suffix == ".lock" for path in (cache / "shards").iterdir())
        open_source(f"{server.url}/train-000.tar", "train").read(0)


def test_a_shard_that_changed_is_noticed(data: Path, cache: Path) -> None:
    with storage_server(data) as server:
        remote = open_source(server.url + RANGE, "train")
        shutil.rmtree(cache / "shards")
        for change in (lambda path: shutil.copy(data / "train-000.tar", path), Path.unlink):
            change(data / "train-001.tar")
            fresh = open_source(f"{server.url}/train-000.tar + {server.url}/train-002.tar", "train")
            assert len(fresh.index) == 10
            remote.hold(np.array([[5, 6]]))  # type: ignore[attr-defined]
            with pytest.raises(UserError, match=r"train-001\.tar has changed or is gone"):
                remote.read(5)


def write_beside(path: Path, size: int) -> None:
    """The index of a shard beside it, made as for one of ``size`` bytes."""
    with path.open("rb") as file:
        arrays = index_beside(read_shard(path, file.fileno()), size)
    with path.with_name(path.name + BESIDE).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def test_an_index_beside_the_shards_saves_the_pass_over_them(data: Path) -> None:
    for path in sorted(data.glob("*.tar")):
        write_beside(path, path.stat().st_size)
    with storage_server(data) as server:
        remote = open_source(server.url + RANGE, "train")
        assert not server.served
        assert_equal(remote, open_source(str(data), "train"))


def test_an_index_beside_another_shard_is_not_used(data: Path) -> None:
    path = data / "train-000.tar"
    write_beside(path, path.stat().st_size + 512)
    with storage_server(data) as server:
        remote = open_source(f"{server.url}/train-000.tar", "train")
        assert_equal(remote, open_source(str(path), "train"))


def test_parquet_files_are_those_of_the_disk(tmp_path: Path, data: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet files are written by pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    local = open_source(str(data), "train")
    (tmp_path / "set").mkdir()
    for file in range(2):
        part = range(10 * file, 10 * file + 10)
        columns = {
            "photo": [bytes(local.read(index)) for index in part],
            "label": [f"class {index % 5}" for index in part],
        }
        name = tmp_path / "set" / f"train-{file:05d}-of-00002.parquet"
        parquet.write_table(pyarrow.table(columns), name, row_group_size=3)
    on_disk = open_source(f"{tmp_path}/set/*.parquet?image=photo", "train")
    with storage_server(tmp_path / "set") as server:
        where = server.url + "/train-{00000..00001}-of-00002.parquet?image=photo&cache=1GB"
        assert_equal(open_source(where, "train"), on_disk)


_READER = """
import sys
from pipelines.sources import open_source
source = open_source(sys.argv[1], "train")
print(sum(len(source.read(index)) for index in range(len(source.index))))
print({"fsspec", "s3fs", "aiohttp", "pyarrow", "torch"} & {*sys.modules})
"""


def test_processes_share_a_cache_and_fetch_each_shard_once(data: Path) -> None:
    with storage_server(data) as server:
        command = [sys.executable, "-c", _READER, server.url + RANGE]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
        size = sum(map(len, contents(open_source(str(data), "train"))))
        for process in running:
            assert process.communicate(timeout=60)[0] == f"{size}\nset()\n"  # and no library was loaded
        assert server.begun == dict.fromkeys((f"train-00{shard}.tar" for shard in range(4)), 1)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("/none-{0..1}.tar", "no such file: .*/none-0.tar"),
        ("/train-*.tar", "the web has no lists of files"),
        ("/", "the web has no lists of files"),
        ("/train-000.tar?download=true", "no option stands behind the ?"),
        ("/train-000.tar?cache=much", "cache=much is no size"),
        ("/train-000.tar?cache=1e3", "is larger than the cache of 1e-06 GB"),
        ("/broken.tar", r"http.*/broken.tar is no whole tar file"),
        ("/text.parquet", r"http.*/text.parquet is no whole Parquet file"),
    ],
)
def test_mistakes_are_one_line(data: Path, where: str, message: str) -> None:
    (data / "broken.tar").write_bytes(b"no tar" * 1000)
    (data / "text.parquet").write_bytes(b"no Parquet" * 1000)
    with storage_server(data) as server, pytest.raises(UserError, match=message):
        open_source(server.url + where, "train")


@pytest.mark.parametrize(
    "where",
    [
        "https://me:secret@host/train.tar",
        "s3://KEY:secret@bucket/train.tar",
        "https://host/train.tar?X-Amz-Signature=secret",
        "data + https://host/train.tar?sig=secret",
    ],
)
def test_secrets_are_refused_and_not_repeated(where: str) -> None:
    with pytest.raises(UserError, match="holds a password or a signature") as caught:
        open_source(where, "train")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "missing", "names"),
    [
        ("gs://bucket/set", "gcsfs", "fsspec and gcsfs"),
        ("gs://bucket/set", "fsspec", "fsspec and gcsfs"),
        ("s3://bucket/set", "fsspec", "fsspec and s3fs"),
    ],
)
def test_missing_packages_are_one_line(
    where: str, missing: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError) as caught:
        open_source(where, "train")
    assert str(caught.value) == f"{where[:5]} needs {names}: pip install -e '.[remote]' in the clone"


def test_several_places_may_be_remote(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    with storage_server(data) as server:
        remote = open_source(f"{other} + {server.url}{RANGE}?cache=1GB", "train")
        assert len(remote.index) == 40
        assert contents(remote) == 2 * contents(open_source(str(data), "train"))
        fetching = remote.fetching  # type: ignore[attr-defined]
        assert fetching.firsts.tolist() == [0, 20, 25, 30, 35, 40]
        assert fetching.sizes.tolist() == [0, *([(data / "train-000.tar").stat().st_size] * 4)]
        assert fetching.capacity == 10**9


@pytest.mark.parametrize(
    ("dst", "message"),
    [
        ("https://host/set", "cannot write to https://host/set"),
        ("s3://bucket/set.beton", "object storage takes shards"),
        ("s3://KEY:secret@bucket/set", "holds a password"),
    ],
)
def test_pack_refuses_addresses_that_cannot_be(data: Path, dst: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pack(Options(src=str(data), dst=Path(dst)))


def test_many_threads_read_far_apart_with_room_for_one_shard(data: Path) -> None:
    """Whatever is removed or dropped under them."""
    size = (data / "train-000.tar").stat().st_size
    expected = contents(open_source(str(data), "train"))
    order = np.random.default_rng(0).permutation(np.tile(np.arange(20), 3)).tolist()
    with storage_server(data) as server:
        remote = open_source(f"{server.url}{RANGE}?cache={size}", "train")
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(remote.read, order)) == [expected[index] for index in order]
