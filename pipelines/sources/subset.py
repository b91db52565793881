"""Samples of another source: a part, whose samples keep their ids and so their views, or all, repeated."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.keys import stable_id, uniforms
from pipelines.sources.source import Fetches, Fetching, ReadsAhead, Source
from pipelines.targets import TargetKind, Targets, target_kinds_of, targets_of


class Subset:
    """The samples of ``source`` at ``indices`` (int64 [M]), in that order."""

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self._source, self._indices = source, indices
        self._ascends = bool((np.diff(indices) > 0).all())  # runs of samples are runs of the source's
        metadata = source.index
        which = metadata.fingerprint.encode() + indices.astype("<i8").tobytes()
        self.index = replace(
            metadata,
            sample_ids=metadata.sample_ids[indices],
            heights=metadata.heights[indices],
            widths=metadata.widths[indices],
            labels=None if metadata.labels is None else metadata.labels[indices],
            objects=None if metadata.objects is None else metadata.objects.at(indices),
            fingerprint=hashlib.blake2b(which, digest_size=16).hexdigest(),
        )

    def read(self, index: int) -> bytes | memoryview | np.ndarray:
        """See ``Source.read``."""
        return self._source.read(int(self._indices[index]))

    def read_ahead(self, first: int, end: int) -> None:
        """See ``ReadsAhead``; neighbors in the other source are read in one run."""
        if isinstance(self._source, ReadsAhead):
            indices = self._indices[first:end]
            for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
                self._source.read_ahead(int(run[0]), int(run[-1]) + 1)

    @property
    def fetching(self) -> Fetching | None:
        """See ``Fetches.fetching``; None too where the indices do not ascend: files are fetched as met."""
        found = self._source.fetching if self._ascends and isinstance(self._source, Fetches) else None
        return found and replace(found, firsts=np.searchsorted(self._indices, found.firsts))

    def hold(self, runs: np.ndarray) -> None:
        """See ``Fetches.hold``; nothing where the indices do not ascend."""
        if self._ascends and isinstance(self._source, Fetches):
            firsts, lasts = self._indices[runs[:, 0]], self._indices[runs[:, 1] - 1]
            self._source.hold(np.stack([firsts, lasts + 1], axis=1))

    def describe(self, index: int) -> str:
        """See ``Source.describe``."""
        return self._source.describe(int(self._indices[index]))

    @property
    def target_kinds(self) -> frozenset[TargetKind]:
        """Those of the source."""
        return target_kinds_of(self._source)

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``."""
        return targets_of(self._source, int(self._indices[index]))


class Repeated(Subset):
    """The first ``count`` of the samples of ``source`` repeated without end.

    A repetition has an id of its own, so that its view is another than that of the sample itself.
    """

    def __init__(self, source: Source, count: int) -> None:
        own = len(source.index)
        super().__init__(source, np.arange(count) % own)
        ids = self.index.sample_ids.copy()
        for index in range(own, count):
            ids[index] = stable_id(f"{ids[index]}/{index // own}")
        which = f"{source.index.fingerprint} x {count}"
        self.index = replace(
            self.index,
            sample_ids=ids,
            fingerprint=hashlib.blake2b(which.encode(), digest_size=16).hexdigest(),
        )


def hold_out(source: Source, share: float) -> tuple[Subset, Subset]:
    """Split a source by its sample ids, the same way on every machine.

    Returns:
        the rest, and the held-out part of about ``share`` of the samples.
    """
    ids = source.index.sample_ids
    chosen = np.array([uniforms(np.array([sample_id]), 1)[0] < share for sample_id in ids], bool)
    return Subset(source, np.flatnonzero(~chosen)), Subset(source, np.flatnonzero(chosen))
