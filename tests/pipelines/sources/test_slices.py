"""Slices of many files, read by many threads with few descriptors."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources.slices import FileSlices


def slices(folder: Path, count: int) -> FileSlices:
    """Slice n is the ten bytes n of file n."""
    paths = [folder / f"{n}" for n in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 10)
    return FileSlices(paths, [1] * count, np.zeros(count, np.int64), np.full(count, 10))


def test_a_file_is_never_closed_under_a_thread_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.slices._MOST_OPEN", 1)
    source = slices(tmp_path, 3)
    order = np.random.default_rng(0).integers(0, 3, 20_000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for number, data in zip(order, pool.map(source.stored, order), strict=True):
            assert data == bytes([number]) * 10


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (40, 40))
    source = slices(tmp_path, 30)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        source.stored(number)
    assert len(os.listdir("/proc/self/fd")) <= before + 10


def test_a_file_that_is_cut_short_gives_an_error_not_a_crash(tmp_path: Path) -> None:
    source = slices(tmp_path, 2)
    first = source.stored(0)
    os.truncate(tmp_path / "0", 3)
    os.truncate(tmp_path / "1", 0)  # is not open yet
    for number in range(2):
        with pytest.raises(OSError, match=f"/{number} has been cut short since it was opened"):
            source.stored(number)
    assert first == bytes(10)  # of a map, touching it would end the process
