"""A run on data that is elsewhere is that on the same files on a disk, killed and resumed with no cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from fastssl.run.metrics import read_metrics
from pipelines.sources import open_source
from pipelines.sources.shards import write_shard
from tests.fastssl.distributed.test_several_processes import Group
from tests.helpers.runs import EVERY_FEW_STEPS, SMALL, assert_same_run, run, start, wait_for_steps
from tests.helpers.storage_server import storage_server

BLOCKS = ("--order", "blocks", "--block-size", "12", "--blocks-per-window", "2")
OPTIONS: tuple[str | Path, ...] = (*SMALL, *BLOCKS, "--epochs", "6")


@pytest.fixture
def data(tmp_path: Path, own_cache: Path) -> Path:
    """A folder of twelve shards of ten images."""
    rng = np.random.default_rng(0)
    for shard in range(12):
        pixels = rng.integers(0, 256, (10, 24, 24, 3), dtype=np.uint8)
        samples = [
            (f"{shard}-{i}", {"jpg": bytes(simplejpeg.encode_jpeg(pixels[i])), "cls": b"%d" % (i % 3)})
            for i in range(10)
        ]
        write_shard(tmp_path / "data" / f"train-{shard:02d}.tar", samples)
    return tmp_path / "data"


@pytest.mark.slow
def test_two_processes_of_a_machine_say_together_what_the_server_sent(data: Path, tmp_path: Path) -> None:
    with storage_server(data) as server:
        where = f"{server.url}/train-{{00..11}}.tar"
        open_source(where, "train")  # makes the indices
        shutil.rmtree(tmp_path / "cache" / "shards")
        server.served.clear()
        quiet = ("--monitor-every", "0", "--log-every", "1", "--data", where, "--out", tmp_path / "run")
        statuses, errors = Group(2, *OPTIONS, *quiet).end()
        assert statuses == [0, 0], errors
        sent = sum(server.served.values())
    assert sent == sum(path.stat().st_size for path in data.iterdir())
    rows = [row["fetched_mb"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert sum(rows) == pytest.approx(sent / 1e6, abs=1e-3 * len(rows))
    assert errors.count("GB fetched per machine") == 6


@pytest.mark.slow
def test_a_run_on_remote_shards_is_that_on_the_disk(data: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    done = run(*OPTIONS, "--data", data, "--out", here)
    assert done.returncode == 0, done.stderr
    sizes = [path.stat().st_size for path in data.iterdir()]
    with storage_server(data) as server:
        where = f"{server.url}/train-{{00..11}}.tar?cache={11 * max(sizes)}"
        refused = run(*SMALL, "--data", where, "--out", there)
        assert refused.returncode == 2
        assert "in random order each would be fetched again and again: give --order blocks" in refused.stderr
        assert not there.exists()
        command: tuple[str | Path, ...] = (*OPTIONS, *EVERY_FEW_STEPS, "--data", where, "--out", there)
        process = start(*command)
        wait_for_steps(process, there, 18)
        process.kill()
        process.wait()
        shutil.rmtree(tmp_path / "cache" / "shards")
        done = run(*command)
        assert done.returncode == 0, done.stderr
    assert "an epoch fetches" in done.stderr
    assert "GB fetched per machine" in done.stderr
    assert all(("fetched_mb" in row) == ("data_wait" in row) for row in read_metrics(there / "metrics.jsonl"))
    assert not any("fetched_mb" in row for row in read_metrics(here / "metrics.jsonl"))
    assert "resumed at step" in done.stderr
    assert_same_run(here, there)
