"""S3 by moto's server on loopback, behind a proxy that counts and fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.pack import Options, pack
from pipelines.sources import open_source
from tests.helpers.storage_server import StorageServer
from tests.pipelines.sources.remote.test_remote import assert_equal

s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs: pip install -e '.[remote]'")
server_module = pytest.importorskip(
    "moto.server", reason="moto's server stands for S3: pip install 'moto[server]'"
)


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    """The port of a server of S3."""
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def proxy(moto: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    """A proxy before the server, which is where the libraries look for S3."""
    server = StorageServer(upstream=moto)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAOFATEST",
        "AWS_SECRET_ACCESS_KEY": "secret of a test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_CONFIG_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    server.close()


@pytest.fixture
def bucket(proxy: StorageServer, data: Path) -> Any:
    """A file system with the shards below ``s3://bucket/set``."""
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if not files.exists("bucket"):
        files.mkdir("bucket")
    files.rm("bucket/set", recursive=True) if files.exists("bucket/set") else None
    files.put(f"{data}/", "bucket/set/", recursive=True)
    return files


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("where", ["train-*.tar", "train-{000..003}.tar", "", "*.tar?cache=1GB"])
def test_shards_are_those_of_the_disk_and_each_is_fetched_once(
    data: Path, proxy: StorageServer, where: str
) -> None:
    assert_equal(open_source(f"s3://bucket/set/{where}", "train"), open_source(str(data), "train"))
    assert proxy.begun == dict.fromkeys((f"train-00{shard}.tar" for shard in range(4)), 1)


@pytest.mark.usefixtures("bucket")
def test_what_may_pass_is_tried_again(data: Path, proxy: StorageServer) -> None:
    proxy.faults.extend(["500", "503", "cut", "truncated", "503", "cut"])
    assert_equal(open_source("s3://bucket/set", "train"), open_source(str(data), "train"))
    assert not proxy.faults


def test_a_shard_that_changed_is_noticed(bucket: Any, data: Path, cache: Path) -> None:
    remote = open_source("s3://bucket/set", "train")
    shutil.rmtree(cache / "shards")
    bucket.put(f"{data}/train-000.tar", "bucket/set/train-001.tar")  # of the same size
    remote.hold(np.zeros((0, 2), int))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"s3://bucket/set/train-001\.tar has changed or is gone"):
        remote.read(5)


@pytest.mark.usefixtures("bucket")
def test_refusals_are_one_line(proxy: StorageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, message in {
        "s3://bucket/none/*.tar": "no file matches s3://bucket/none/",
        "s3://bucket/none": "no .tar or .parquet files in s3://bucket/none",
        "s3://bucket/none.tar": "no such file: s3://bucket/none.tar",
        "s3://elsewhere/none.tar": "no such file: s3://elsewhere/none.tar",
    }.items():
        with pytest.raises(UserError, match=message):
            open_source(where, "train")
    proxy.faults.append("403")
    with pytest.raises(UserError, match=r"train-000\.tar: Forbidden: renew the credentials"):
        open_source("s3://bucket/set/train-000.tar", "train")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match="Unable to locate credentials: give credentials") as caught:
        open_source("s3://bucket/set/train-000.tar", "train")
    assert "secret" not in str(caught.value)


def test_pack_writes_shards_with_indices_that_are_used(bucket: Any, data: Path, proxy: StorageServer) -> None:
    bucket.rm("bucket/packed", recursive=True) if bucket.exists("bucket/packed") else None
    pack(Options(src=str(data), dst=Path("s3://bucket/packed"), shard_mb=1))
    names = [name.rpartition("/")[2] for name in bucket.ls("bucket/packed", detail=False)]
    assert sorted(names) == ["train-000000.tar", "train-000000.tar.index.npz"]
    packed, local = open_source("s3://bucket/packed", "train"), open_source(str(data), "train")
    assert not proxy.served
    assert_equal(packed, local)
    with pytest.raises(UserError, match=r"s3://bucket/packed holds shards already \(train-000000.tar\)"):
        pack(Options(src=str(data), dst=Path("s3://bucket/packed")))
    with pytest.raises(UserError, match=r"no such bucket|bucket does not exist"):
        pack(Options(src=str(data), dst=Path("s3://missing-bucket/packed")))
