"""Notes for the user: files of a data set that are not used, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pipelines.sources.cache import pack_strings, unpack_strings


class LeftOut:
    """Files that are not used: how many for which reason, and a first example of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, example: str, count: int = 1) -> None:
        """Count ``count`` files, for a reason in the plural: ".tif files"."""
        self.counts[reason] += count
        self.examples[reason] = min(example, self.examples.get(reason, example))  # whatever the order

    def merge(self, other: LeftOut) -> None:
        """Count what another has counted."""
        for reason, count in other.counts.items():
            self.add(reason, other.examples[reason], count)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return "; ".join(
            f"{count} {reason} (first: {self.examples[reason]})"
            for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays ``reasons``, ``examples`` and ``counts``, for a cache file."""
        reasons = sorted(self.counts)
        return {
            "reasons": pack_strings(reasons),
            "examples": pack_strings([self.examples[reason] for reason in reasons]),
            "counts": np.array([self.counts[reason] for reason in reasons], np.int64),
        }

    @staticmethod
    def of_arrays(arrays: Mapping[str, np.ndarray]) -> LeftOut:
        """The inverse of ``arrays``."""
        left_out = LeftOut()
        texts = (unpack_strings(arrays[name]) for name in ("reasons", "examples"))
        for reason, example, count in zip(*texts, arrays["counts"].tolist(), strict=True):
            left_out.add(reason, example, count)
        return left_out

    def note(self, where: object) -> tuple[str, ...]:
        """One line on what is not used of ``where``; no line where all is used."""
        return (f"not used in {where}: {self}",) if self else ()


_told: set[str] = set()


def untold(notes: Iterable[str]) -> Iterator[str]:
    """Yield those notes that were not yielded before in this process: a split may be opened twice."""
    for note in notes:
        if note not in _told:
            _told.add(note)
            yield note
