"""Targets of dense tasks: everything that is labeled in one image, or in one view of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

TargetKind = Literal["boxes", "masks", "segmentation", "depth"]
IGNORED = 255
"""Class of pixels in ``segmentation`` that are neither learned nor evaluated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Labels of an image of ``height`` x ``width`` pixels: n objects, and maps; what is not there is None."""

    height: int
    width: int
    boxes: np.ndarray | None = None
    """float32 [n, 4], left, top, right, bottom, pixels from the corner of the upright image."""
    classes: np.ndarray | None = None
    """int64 [n], class of each object, position in the class names of the index."""
    areas: np.ndarray | None = None
    """float32 [n], pixels that each object covers: of its mask where it has one, else of its box."""
    difficult: np.ndarray | None = None
    """bool [n], objects that do not count in evaluations (VOC)."""
    crowd: np.ndarray | None = None
    """bool [n], boxes and masks around several objects (COCO's ``iscrowd``): not trained on."""
    masks: np.ndarray | None = None
    """bool [n, height, width], the pixels of each object."""
    segmentation: np.ndarray | None = None
    """uint8 [height, width], class of each pixel; IGNORED has none."""
    depth: np.ndarray | None = None
    """float32 [height, width], distance; 0 where it is not known."""
    label: int | None = None
    """Class of the image."""


@runtime_checkable
class TargetSource(Protocol):
    """A ``Source`` whose images have targets."""

    @property
    def target_kinds(self) -> frozenset[TargetKind]:
        """Kinds that all its images have."""
        ...

    def targets(self, index: int) -> Targets:
        """Targets of an image, by its index. Called from many threads at once.

        Raises:
            UserError: its labels are damaged.
        """
        ...


def target_kinds_of(source: object) -> frozenset[TargetKind]:
    """Kinds of targets that all images of a source have; none where it is no ``TargetSource``."""
    return source.target_kinds if isinstance(source, TargetSource) else frozenset()


def targets_of(source: object, index: int) -> Targets:
    """Targets of an image of a source that may have some, for sources that show the samples of others.

    Raises:
        TypeError: the source has none, as its ``target_kinds_of`` tells.
        UserError: see ``TargetSource.targets``.
    """
    if not isinstance(source, TargetSource):
        raise TypeError(f"a {type(source).__name__} has no targets")
    return source.targets(index)
