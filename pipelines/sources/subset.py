"""A part of another source. Its samples keep their ids, and so their views."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.keys import uniforms
from pipelines.sources.source import Source


class Subset:
    """The samples of ``source`` at ``numbers`` (int64 [M]), in that order."""

    def __init__(self, source: Source, numbers: np.ndarray) -> None:
        self._source, self._numbers = source, numbers
        index = source.index
        which = index.fingerprint.encode() + numbers.astype("<i8").tobytes()
        self.index = replace(
            index,
            sample_ids=index.sample_ids[numbers],
            heights=index.heights[numbers],
            widths=index.widths[numbers],
            labels=None if index.labels is None else index.labels[numbers],
            fingerprint=hashlib.blake2b(which, digest_size=16).hexdigest(),
        )

    def read(self, number: int) -> bytes | memoryview | np.ndarray:
        """See ``Source.read``."""
        return self._source.read(int(self._numbers[number]))

    def describe(self, number: int) -> str:
        """See ``Source.describe``."""
        return self._source.describe(int(self._numbers[number]))


def hold_out(source: Source, share: float) -> tuple[Subset, Subset]:
    """Split a source by its sample ids, the same way on every machine.

    Returns:
        the rest, and the held-out part of about ``share`` of the samples.
    """
    ids = source.index.sample_ids
    chosen = np.array([uniforms(np.array([sample_id]), 1)[0] < share for sample_id in ids], bool)
    return Subset(source, np.flatnonzero(~chosen)), Subset(source, np.flatnonzero(chosen))
