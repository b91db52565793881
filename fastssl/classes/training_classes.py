"""Classes of a run: subsampling and taxonomies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastssl.classes.taxonomy import group_classes
from pipelines.command.errors import UserError
from pipelines.sources import Source
from pipelines.sources.relabeled import Relabeled, choose_classes, class_subset


def with_classes(source: Source, class_share: float, taxonomy: str, seed: int) -> Source:
    """A source with a share of its classes, labeled by the groups of a taxonomy (Huang et al., 2022, B.2).

    Args:
        source: training images; returned as it is where nothing changes.
        class_share: in (0, 1], of the classes, all their images.
        taxonomy: see ``fastssl.classes.taxonomy.group_classes``; "classes": the classes themselves.
        seed: random seed of the choice.

    Raises:
        UserError: the source has no classes, the share or the taxonomy do not fit them, or one group is left.
    """
    if class_share == 1 and taxonomy == "classes":
        return source
    names = source.index.class_names
    if source.index.labels is None:
        raise UserError("the data has no classes to choose from or to group: give one folder for each class")
    classes = choose_classes(names, class_share, seed)
    groups, group_names = group_classes(names, taxonomy)  # of all classes: a mapping file names them all
    chosen = Relabeled(class_subset(source, classes), groups[classes], group_names)
    if len(chosen.index.class_names) < 2:
        raise UserError(
            f"class share {class_share} and taxonomy {taxonomy} leave one class, "
            f"{chosen.index.class_names[0]}: choose a larger share or a finer taxonomy"
        )
    return chosen


def class_numbers(class_names: Sequence[str], class_share: float, taxonomy: str, seed: int) -> np.ndarray:
    """The label that ``with_classes`` gives to each class, int64 [number of classes]; -1: left out."""
    names = tuple(class_names)
    classes = choose_classes(names, class_share, seed)
    groups = group_classes(names, taxonomy)[0][classes]
    numbers = np.full(len(names), -1)
    numbers[classes] = np.unique(groups, return_inverse=True)[1]
    return numbers
