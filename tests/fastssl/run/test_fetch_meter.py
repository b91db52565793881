"""What a run says it fetched is what a server handed out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from fastssl.distributed.dist_env import DistEnv
from fastssl.run.fetch_meter import FetchMeter
from pipelines.sources import open_source
from pipelines.sources.shards import write_shard
from tests.helpers.storage_server import storage_server


@pytest.mark.usefixtures("own_cache")
def test_bytes_are_those_that_the_server_sent(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    jpeg = bytes(simplejpeg.encode_jpeg(pixels))
    for shard in range(3):
        write_shard(tmp_path / "data" / f"{shard}.tar", [(f"{shard}-{i}", {"jpg": jpeg}) for i in range(20)])
    size = (tmp_path / "data" / "0.tar").stat().st_size
    with storage_server(tmp_path / "data") as server:
        where = f"{server.url}/{{0..2}}.tar"
        source = open_source(f"{where} + {tmp_path / 'data'}", "train")  # the second is here
        meter, nothing = FetchMeter(source, DistEnv()), FetchMeter(open_source(where, "train"), DistEnv())
        assert meter.lap() == {"fetched_mb": 0.0}  # the index was made of the files, which are kept
        shutil.rmtree(tmp_path / "cache" / "shards")
        server.served.clear()
        for index in range(0, 120, 10):
            source.read(index)
        assert sum(server.served.values()) == 3 * size
        assert meter.lap() == {"fetched_mb": pytest.approx(3 * size / 1e6, abs=1e-3)}
        assert meter.lap() == {"fetched_mb": 0.0}
        assert [*meter.epoch_line(2.0)] == [f"epoch 2: {3 * size / 1e9:.3g} GB fetched per machine"]
        assert [*meter.epoch_line(3.0)] == ["epoch 3: 0 GB fetched per machine"]
        assert nothing.lap() == {"fetched_mb": 0.0}
    here = FetchMeter(open_source(str(tmp_path / "data"), "train"), DistEnv())
    assert here.lap() == {}
    assert [*here.epoch_line(1.0)] == []
