"""Bytes that a run's images take from elsewhere, per machine and epoch."""

from __future__ import annotations

from collections.abc import Iterator

from fastssl.distributed.collectives import all_gather_objects
from fastssl.distributed.dist_env import DistEnv
from pipelines.sources import Source
from pipelines.sources.source import Fetches


class FetchMeter:
    """Reads what was fetched since this process began. All processes call, in the same order.

    The processes of a machine share its cache, so that a file counts in the one that fetched it; means over
    the machines are given.
    """

    def __init__(self, source: Source, env: DistEnv) -> None:
        self._source = source if isinstance(source, Fetches) and source.fetching else None
        self._machines = env.world_size / env.local_world_size
        self._at_lap = self._at_epoch = 0.0

    def lap(self) -> dict[str, float]:
        """``fetched_mb``, 10^6 bytes since the last call; {} where the images are on this machine."""
        if self._source is None:
            return {}
        now = self._read(self._source)
        before, self._at_lap = self._at_lap, now
        return {"fetched_mb": round(now - before, 3)}

    def epoch_line(self, epoch: float) -> Iterator[str]:
        """The line at the end of an epoch, on what was fetched since the last one."""
        if self._source is not None:
            now = self._read(self._source)
            before, self._at_epoch = self._at_epoch, now
            yield f"epoch {epoch:g}: {(now - before) / 1e3:.3g} GB fetched per machine"

    def _read(self, source: Fetches) -> float:
        fetched = source.fetching.fetched if source.fetching else 0
        return sum(all_gather_objects([fetched])) / self._machines / 1e6
