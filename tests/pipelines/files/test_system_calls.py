"""The C library's functions from kernels: they say of files what ``os`` says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.files.system_calls import pack_paths, read_start, stat_files


def test_sizes_and_times_are_those_of_stat(tmp_path: Path) -> None:
    names = ["a", "größe", os.fsdecode(b"\xe9t\xe9"), "sparse"]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * number)
        os.utime(tmp_path / name, ns=(1, (-1) ** number * 10**18 + 123_456_789 * number))  # before 1970 too
    os.truncate(tmp_path / "sparse", 1 << 40)
    os.symlink(tmp_path / "a", tmp_path / "link")
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = stat_files(str(tmp_path), [*names, "link", "dangling", "folder", "pipe", "absent"])
    there = [os.stat(tmp_path / name) for name in (*names, "link")]
    assert found[:5].tolist() == [[each.st_size, each.st_mtime_ns, each.st_ctime_ns] for each in there]
    assert (found[5:] == -1).all()
    with pytest.raises(FileNotFoundError):
        stat_files(str(tmp_path / "absent"), ["a"])
    assert stat_files(str(tmp_path), []).shape == (0, 3)


def test_starts_of_files_are_read_and_nothing_blocks_or_leaks(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    os.mkfifo(tmp_path / "pipe")
    paths, begins = pack_paths([str(tmp_path / name) for name in ("a", "pipe", "absent")])
    open_files = len(os.listdir("/proc/self/fd"))
    data = np.zeros(4, np.uint8)
    assert [read_start(paths, begin, data) for begin in begins] == [4, -1, -1]
    assert bytes(data) == b"0123"
    long = np.zeros(40, np.uint8)
    assert read_start(paths, begins[0], long) == 10
    assert len(os.listdir("/proc/self/fd")) == open_files
