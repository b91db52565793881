"""A source under other labels: groups of its classes, or some of them with all their images.

Samples keep their ids, and so their views.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.command.errors import UserError
from pipelines.keys import hash_keys, stable_id
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


def choose_classes(class_names: tuple[str, ...], share: float, seed: int) -> np.ndarray:
    """A share of the classes, drawn by keys that are made of their names.

    The classes of a share are among those of every larger share with the same seed.

    Args:
        class_names: of the source.
        share: of the classes, in (0, 1]; their number is rounded to the nearest.
        seed: of the draw.

    Returns:
        int64 [M], positions in ``class_names``, ascending.

    Raises:
        UserError: the share is out of range, or leaves no class.
    """
    if not 0 < share <= 1:
        raise UserError(f"the share of the classes must lie in (0, 1], not {share}")
    count = round(share * len(class_names))
    if count == 0:
        raise UserError(f"a share of {share} of {len(class_names)} classes leaves none: take a larger one")
    purpose = stable_id("classes of a subset")
    keys = [hash_keys(np.array([seed, purpose, stable_id(name)])) for name in class_names]
    chosen = np.argsort(np.array(keys, np.uint64), kind="stable")[:count]
    return np.sort(chosen).astype(np.int64)


def class_subset(source: Source, classes: np.ndarray) -> Relabeled:
    """The samples of some classes; labels count through these alone.

    Args:
        source: with labels.
        classes: int64 [M], ascending positions in its class names, as ``choose_classes`` returns them.
    """
    index = source.index
    assert index.labels is not None
    subset = Subset(source, np.flatnonzero(np.isin(index.labels, classes)))
    new_labels = np.zeros(len(index.class_names), np.int64)  # of the other classes no sample is left
    new_labels[classes] = np.arange(len(classes))
    return Relabeled(subset, new_labels, tuple(index.class_names[label] for label in classes.tolist()))
