"""A source under other labels: groups of its classes. Its samples keep their ids, and so their views."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.command.errors import UserError
from pipelines.sources.source import Fetches, Fetching, ReadsAhead, Source
from pipelines.targets import TargetKind, Targets, target_kinds_of, targets_of


class Relabeled:
    """The samples of ``source`` with groups of its classes as labels.

    Args:
        source: with labels.
        groups: int64 [number of its classes], the group of each class, a position in ``group_names``. Groups
            that no class has are left out, and the others numbered through.
        group_names: of the groups.

    Raises:
        UserError: the source has no labels.
    """

    def __init__(self, source: Source, groups: np.ndarray, group_names: tuple[str, ...]) -> None:
        self._source = source
        index = source.index
        if index.labels is None:
            raise UserError("the data has no classes to group: put its images into one folder per class")
        if groups.shape != (len(index.class_names),):
            raise ValueError(f"{len(index.class_names)} classes need a group each, not {groups.shape}")
        used, positions = np.unique(groups, return_inverse=True)
        self._group_of = positions.astype(np.int64)
        labels = self._group_of[index.labels]
        names = tuple(group_names[group] for group in used.tolist())
        which = "\0".join([index.fingerprint, *names]).encode() + labels.astype("<i8").tobytes()
        self.index = replace(
            index,
            labels=labels,
            class_names=names,
            fingerprint=hashlib.blake2b(which, digest_size=16).hexdigest(),
        )

    def read(self, index: int) -> bytes | memoryview | np.ndarray:
        """See ``Source.read``."""
        return self._source.read(index)

    def read_ahead(self, first: int, end: int) -> None:
        """See ``ReadsAhead``; nothing where the source does not read ahead."""
        if isinstance(self._source, ReadsAhead):
            self._source.read_ahead(first, end)

    @property
    def fetching(self) -> Fetching | None:
        """See ``Fetches.fetching``."""
        return self._source.fetching if isinstance(self._source, Fetches) else None

    def hold(self, runs: np.ndarray) -> None:
        """See ``Fetches.hold``."""
        if isinstance(self._source, Fetches):
            self._source.hold(runs)

    def describe(self, index: int) -> str:
        """See ``Source.describe``."""
        return self._source.describe(index)

    @property
    def target_kinds(self) -> frozenset[TargetKind]:
        """Those of the source."""
        return target_kinds_of(self._source)

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``; classes of objects are groups, those of pixels are as they were."""
        targets = targets_of(self._source, index)
        if targets.classes is None:
            return targets
        return replace(targets, classes=self._group_of[targets.classes])
