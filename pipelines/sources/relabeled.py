"""A source under other labels: groups of its classes. Its samples keep their ids, and so their views."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.sources.source import Source
from pipelines.sources.subset import Subset
from pipelines.targets import Targets


class Relabeled(Subset):
    """The samples of ``source`` with groups of its classes as labels.

    Args:
        source: with labels.
        groups: int64 [number of its classes], the group of each class, a position in ``group_names``. Groups
            that no class has are left out, and the others numbered through.
        group_names: of the groups.
    """

    def __init__(self, source: Source, groups: np.ndarray, group_names: tuple[str, ...]) -> None:
        index = source.index
        assert index.labels is not None
        super().__init__(source, np.arange(len(index)))
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

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``; classes of objects are groups, those of pixels are as they were."""
        targets = super().targets(index)
        if targets.classes is None:
            return targets
        return replace(targets, classes=self._group_of[targets.classes])
