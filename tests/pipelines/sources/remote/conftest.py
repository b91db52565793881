"""Shards on a disk, and no pauses between tries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from pipelines.sources.remote import fetch
from pipelines.sources.shards import write_shard

SHARDS, IN_EACH = 4, 5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; the pauses between tries are short."""
    monkeypatch.setattr(fetch, "_PAUSES", (0.001,) * len(fetch._PAUSES))
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of four shards of five images."""
    rng = np.random.default_rng(0)
    for shard in range(SHARDS):
        samples = []
        for image in range(IN_EACH):
            pixels = rng.integers(0, 256, (20 + image, 30, 3), dtype=np.uint8)
            samples.append(
                (f"{shard}-{image}", {"jpg": bytes(simplejpeg.encode_jpeg(pixels)), "cls": b"%d" % image})
            )
        write_shard(tmp_path / "data" / f"train-{shard:03d}.tar", samples)
    return tmp_path / "data"
