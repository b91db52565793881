"""``scenes:single-1011``, ``scenes:multi-1111``: images of known factors with exact labels, made when read.

``single`` are 480,000 images of one shape, 64 pixels a side; ``multi`` 300,000 of four, 128 pixels. The four
digits are texture, color, viewpoint and lighting: 1 is free, 0 fixed, a fixed color a hue per class (Newell
and Deng, "How useful is self-supervised pretraining for visual tasks?", 2020). Options follow with commas:

- ``label=pose``: the label is the pose in five bins, where the viewpoint is free; ``label=class`` otherwise.
- ``images=N``: the first N of the training images (400,000 or 250,000).
- ``heldout=validation``: the test split has 5,000 images of the eleventh bucket of shapes, not the twelfth.
- ``textures=FOLDER``: images of one's own as textures; the last option, as a path may hold commas.

``python -m pipelines.pack scenes:single-1011 FOLDER`` keeps the images as shards, their pixels unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.sources.identity import fingerprint, sample_ids
from pipelines.sources.scenes.arrangement import (
    COMBINATIONS,
    OBJECTS,
    PER_BUCKET,
    POSES,
    SIDES,
    TRAINING_BUCKETS,
    Arrangement,
    Kind,
    arrange,
    parts_in_world,
    poses,
)
from pipelines.sources.scenes.raycast import FACES, NOTHING, cast, paint, solids_of
from pipelines.sources.scenes.shapes import CLASSES
from pipelines.sources.scenes.textures import BuiltInTextures, FolderTextures, Textures
from pipelines.sources.source import Index
from pipelines.sources.splits import Split
from pipelines.targets import TargetKind, Targets

KINDS = tuple(SIDES)
HELDOUT = 5_000  # images of validation, and of the test
_VERSION = 1  # raise it whenever a change alters an image or a label
_OPTIONS = "label=class|pose, images=N, heldout=validation|test, textures=FOLDER"

Label = Literal["class", "pose"]
Heldout = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Everything that is known of one image of n objects, S pixels a side."""

    class_ids: np.ndarray
    """int64 [n], positions in CLASSES."""
    poses: np.ndarray
    """int64 [n], positions in POSES; all 0 where the viewpoint is fixed."""
    segmentation: np.ndarray
    """uint8 [S, S]: 0 is the background, k is class k - 1."""
    depth: np.ndarray
    """float32 [S, S], distance along the camera's axis; the shapes stand about 1 away, the background 4.3."""
    boxes: np.ndarray
    """int64 [n, 4], left, top, right, bottom, the last two exclusive; all 0 where an object is hidden."""
    masks: np.ndarray
    """bool [n, S, S], the pixels whose centers show each object."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The data that a text behind ``scenes:`` names."""

    kind: Kind
    combination: str
    label: Label | None
    images: int
    heldout: Heldout = "test"
    textures: Path | None = None


class LabeledScenes:
    """Images that are made when they are read (a ``KeyedSource``), and their labels (a ``TargetSource``)."""

    target_kinds: frozenset[TargetKind] = frozenset({"boxes", "masks", "segmentation", "depth"})

    def __init__(self, index: Index, split: str, first: int, variant: Variant, textures: Textures) -> None:
        self.index = index
        self._split = split
        self._first = first
        self._variant = variant
        self._textures = textures

    def read(self, index: int) -> np.ndarray:
        """The pixels of an image, uint8 [S, S, 3]."""
        return paint_arrangement(self.arrangement(index), self._textures)

    def labels(self, index: int) -> Labels:
        """All labels of an image, exact at the centers of its pixels."""
        return label_arrangement(self.arrangement(index), self._textures.side)

    def targets(self, index: int) -> Targets:
        """Targets of an image; objects without a visible pixel are none."""
        labels = self.labels(index)
        areas = labels.masks.sum(axis=(1, 2))
        seen = areas > 0
        return Targets(
            height=self._textures.side,
            width=self._textures.side,
            boxes=labels.boxes[seen].astype(np.float32),
            classes=(labels.poses if self._variant.label == "pose" else labels.class_ids)[seen],
            areas=areas[seen].astype(np.float32),
            masks=labels.masks[seen],
            segmentation=labels.segmentation,
            depth=labels.depth,
        )

    def arrangement(self, index: int) -> Arrangement:
        """The content of an image: objects, lamp, background.

        Raises:
            IndexError: there is no such image.
        """
        if not 0 <= index < len(self.index):
            raise IndexError(f"{index}: this split has {len(self.index)} images")
        return arrange(self._variant.kind, self._first + index, self._variant.combination)

    def key(self, index: int) -> str:
        """The key of an image: its split and number."""
        return f"{self._split}-{index:06d}"

    def describe(self, index: int) -> str:
        """``scenes:single-1011:train-000007``."""
        return f"scenes:{self._variant.kind}-{self._variant.combination}:{self.key(index)}"


def open_labeled(split: Split, text: str) -> LabeledScenes:
    """Open a split of labeled scenes.

    Raises:
        UserError: see ``parse``; or no textures in the folder.
    """
    variant = parse(text)
    kind, side = variant.kind, SIDES[variant.kind]
    if variant.textures is None:
        textures: Textures = BuiltInTextures(side)
    else:
        textures = FolderTextures(variant.textures, side)
    name: str = split
    first, count = 0, variant.images
    if split == "test":
        name, count = variant.heldout, HELDOUT
        first = (TRAINING_BUCKETS + (variant.heldout == "test")) * PER_BUCKET[kind]
    labels, class_names = _index_labels(variant, first, count)
    keys = [f"{name}-{index:06d}" for index in range(count)]
    data = f"scenes-v{_VERSION}-{kind}-{variant.combination}-{textures.version}-{name}-{count}"
    index = Index(
        sample_ids=sample_ids(keys, keys),
        heights=np.full(count, side, np.int32),
        widths=np.full(count, side, np.int32),
        labels=labels,
        class_names=class_names,
        segmentation_names=("background", *CLASSES),
        fingerprint=fingerprint([data], [3 * side * side], labels, () if labels is None else class_names),
    )
    return LabeledScenes(index, name, first, variant, textures)


def _index_labels(variant: Variant, first: int, count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if variant.label == "class":
        return np.arange(first, first + count) % len(CLASSES), CLASSES
    if variant.label == "pose":
        return poses(first, count), POSES
    return None, CLASSES


def parse(text: str) -> Variant:
    """Understand what follows ``scenes:``.

    Raises:
        UserError: an unknown kind, combination or option, more images than there are, or a label that the
            data has not.
    """
    where = f"scenes:{text}"
    name, _, rest = text.partition(",")
    kind_name, _, combination = name.partition("-")
    kind = next((known for known in KINDS if known == kind_name), None)
    if kind is None or combination not in COMBINATIONS:
        raise UserError(
            f"{where}: no such combination: give single- or multi- and one of {' '.join(COMBINATIONS)} "
            "(texture, color, viewpoint, lighting; 1 is free)"
        )
    given: dict[str, str] = {}
    while rest:
        option, equals, value = rest.partition("=")
        if option != "textures":
            value, _, rest = value.partition(",")
        else:
            rest = ""
        if option in given or not equals or not value:
            raise UserError(f"{where}: cannot read {option!r}: options are {_OPTIONS}")
        given[option] = value
    most = TRAINING_BUCKETS * PER_BUCKET[kind]
    variant = Variant(
        kind=kind,
        combination=combination,
        label=_label(where, given.pop("label", None), kind, combination),
        images=_count(where, given.pop("images", str(most)), most),
        heldout=_heldout(where, given.pop("heldout", "test")),
        textures=user_path(given.pop("textures")) if "textures" in given else None,
    )
    if given:
        raise UserError(f"{where}: no option named {next(iter(given))!r}: options are {_OPTIONS}")
    return variant


def _label(where: str, label: str | None, kind: Kind, combination: str) -> Label | None:
    if OBJECTS[kind] > 1:
        if label is not None:
            raise UserError(f"{where}: images of several objects have no one {label}: leave label= out")
        return None
    if label in (None, "class"):
        return "class"
    if label != "pose":
        raise UserError(f"{where}: no label named {label!r}: give label=class or label=pose")
    if combination[2] == "0":
        raise UserError(f"{where}: the viewpoint is fixed, so all poses are one: give a third digit of 1")
    return "pose"


def _count(where: str, text: str, most: int) -> int:
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= most:
        raise UserError(f"{where}: images={text}: give 1 to {most}, the training images there are")
    return count


def _heldout(where: str, text: str) -> Heldout:
    if text == "validation":
        return "validation"
    if text != "test":
        raise UserError(f"{where}: heldout={text}: give heldout=validation or heldout=test")
    return "test"


def paint_arrangement(arrangement: Arrangement, textures: Textures) -> np.ndarray:
    """The image of an arrangement, uint8 [S, S, 3]."""
    side, objects = textures.side, arrangement.objects
    owners, rays = _cast(arrangement, side)
    materials = np.array([[*placed.color, placed.texture_share] for placed in objects])
    unturn = np.array([[*(placed.rotation.T / placed.scale[:, None]), placed.location] for placed in objects])
    background = np.array([*arrangement.background, *arrangement.background_shift])
    if arrangement.textured:
        used = [*(placed.texture for placed in objects), arrangement.background_texture]
        skins = np.stack([textures.take(position) for position in used])
    else:
        skins = np.empty((0, side, side, 3), np.uint8)
    image = np.empty((side, side, 3), np.uint8)
    lamp = arrangement.lamp
    paint(*rays, owners, lamp, materials, unturn, background, skins, image)
    return image


def label_arrangement(arrangement: Arrangement, side: int) -> Labels:
    """All labels of an arrangement, seen in ``side`` pixels."""
    owners, (*_, depths, faces) = _cast(arrangement, side)
    objects = arrangement.objects
    shown = np.where(faces == NOTHING, -1, owners[faces // FACES])
    masks = shown == np.arange(len(objects))[:, None, None]
    class_ids = np.array([placed.class_id for placed in objects])
    return Labels(
        class_ids=class_ids,
        poses=np.array([placed.pose for placed in objects]),
        segmentation=np.append(class_ids + 1, 0).astype(np.uint8)[shown],
        depth=depths.astype(np.float32),
        boxes=np.array([_box(mask) for mask in masks]),
        masks=masks,
    )


def _cast(arrangement: Arrangement, side: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The object of each part, and what ``cast`` reads and fills, in the order of ``paint``."""
    bodies = [parts_in_world(placed) for placed in arrangement.objects]
    parts = np.concatenate(bodies)
    owners = np.repeat(np.arange(len(bodies)), [len(body) for body in bodies])
    solids = solids_of(parts)
    eyes, frames = np.empty((len(parts), 3)), np.empty((len(parts), 4), np.int64)
    depths, faces = np.empty((side, side)), np.empty((side, side), np.int32)
    cast(parts["axes"].copy(), solids, eyes, frames, depths, faces)
    return owners, (solids, eyes, frames, depths, faces)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a mask; zeros of an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
