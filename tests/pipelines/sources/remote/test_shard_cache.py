"""The cache of whole shards: bounded, and nothing that is in use is removed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from pipelines.command.errors import UserError
from pipelines.sources.remote import shard_cache
from pipelines.sources.remote.shard_cache import Shard, ShardCache, digest_of
from pipelines.sources.remote.storage import RemoteFile
from tests.helpers.watched_folder import largest_size


def shard(number: int, size: int = 100) -> RemoteFile:
    return RemoteFile(url=f"s3://bucket/{number}.tar", size=size, version="1", modified=0.0)


def fetched(number: int, size: int = 100, log: list[int] | None = None) -> Callable[[BinaryIO], None]:
    def fetch(out: BinaryIO) -> None:
        if log is not None:
            log.append(number)
        out.write(bytes([number]) * size)

    return fetch


def hold(cache: ShardCache, number: int, log: list[int] | None = None) -> Shard:
    return cache.open(shard(number), fetched(number, log=log), hold=True)


def content(held: Shard) -> bytes:
    return os.pread(held.descriptor, 1000, 0)


def test_shards_go_in_the_order_they_are_let_go(tmp_path: Path) -> None:
    log: list[int] = []
    cache = ShardCache(tmp_path, 300)
    held = {number: hold(cache, number, log) for number in (1, 2, 3)}
    for number in (2, 3, 1):
        held.pop(number).let_go()
        time.sleep(0.02)  # file systems tell times to a tick
    kept = [hold(cache, 4), hold(cache, 5)]
    assert sorted(path.name for path in tmp_path.glob("*.shard")) == sorted(
        f"{digest_of(shard(number))}.shard" for number in (1, 4, 5)
    )
    del kept
    hold(cache, 1, log)
    assert log == [1, 2, 3]
    hold(cache, 2, log)
    assert log == [1, 2, 3, 2]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.shard")) <= 300


def test_what_is_held_stays_until_it_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "_WAIT", 0.1)
    cache = ShardCache(tmp_path, 200)
    first, second = hold(cache, 1), hold(cache, 2)
    with pytest.raises(UserError, match="full of shards that runs"):
        hold(cache, 3)
    assert (content(first), content(second)) == (bytes([1]) * 100, bytes([2]) * 100)
    monkeypatch.setattr(shard_cache, "_WAIT", 60.0)
    waiting: list[bytes] = []
    thread = threading.Thread(target=lambda: waiting.append(content(hold(cache, 3))))
    thread.start()
    del first
    thread.join(timeout=30)
    assert waiting == [bytes([3]) * 100]


def test_what_is_read_and_not_held_may_go_and_stays_readable(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 100)
    first = cache.open(shard(1), fetched(1), hold=False)
    assert not first.is_removed
    hold(cache, 2)
    assert first.is_removed
    assert content(first) == bytes([1]) * 100


def test_threads_that_want_one_shard_fetch_it_once(tmp_path: Path) -> None:
    log: list[int] = []
    cache = ShardCache(tmp_path, 1000)
    threads = [threading.Thread(target=hold, args=(cache, 7, log)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log == [7]


def test_many_that_fetch_at_once_stay_within_the_capacity(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 300)

    def read(number: int) -> None:
        for _ in range(60):
            assert content(cache.open(shard(number), fetched(number), hold=False)) == bytes([number]) * 100

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    with largest_size(tmp_path, "*.shard") as most:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 0 < most[0] <= 300


def test_a_shard_of_another_size_is_fetched_anew(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1000)
    (tmp_path / f"{digest_of(shard(1))}.shard").write_bytes(b"short")
    assert content(hold(cache, 1)) == bytes([1]) * 100


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def broken(out: BinaryIO) -> None:
        out.write(b"half")
        raise UserError("gone")

    cache = ShardCache(tmp_path, 100)
    with pytest.raises(UserError, match="gone"):
        cache.open(shard(1), broken, hold=True)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert content(hold(cache, 1)) == bytes([1]) * 100


def test_what_a_killed_process_left_counts_and_then_goes(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 200)
    left = tmp_path / ".x.shard.host-1.part"
    left.write_bytes(bytes(150))
    os.utime(left, (0, time.time() - 2 * shard_cache._ABANDONED))
    hold(cache, 1)
    assert not left.exists()


def test_a_changed_file_is_another(tmp_path: Path) -> None:
    one = shard(1)
    for change in ({"version": "2"}, {"size": 7}, {"url": "s3://bucket/2.tar"}):
        fields = {"url": one.url, "size": one.size, "version": one.version, "modified": 0.0, **change}
        assert digest_of(RemoteFile(**fields)) != digest_of(one)  # type: ignore[arg-type]
