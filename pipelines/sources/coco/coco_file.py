"""A JSON of COCO, ``instances_train2017.json``, as arrays: read once, then kept in the cache.

The JSON of COCO's training images has 450 MB, which as dictionaries would take gigabytes: its elements are
read one by one, each becomes numbers in arrays and a mask's run lengths, and is gone.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.text import visible
from pipelines.decode.decode import MAX_PIXELS
from pipelines.files.patience import read_whole, with_patience
from pipelines.sources.cache import cache_file, load_arrays, pack_strings, save_arrays, unpack_strings
from pipelines.sources.coco.json_lists import list_elements
from pipelines.sources.coco.run_lengths import decode_masks, encode_segmentation
from pipelines.sources.notes import LeftOut

_VERSION = 1  # raise it whenever the arrays, or what is left out, change
_ARRAYS = (
    *("names", "sizes", "category_ids", "category_names", "offsets", "categories", "boxes", "areas", "crowd"),
    *("runs", "run_offsets", "reasons", "examples", "counts"),
)
_NO_AREA, _NO_CORNERS = "objects whose box has no area", "objects without a polygon of three corners"
_NO_MASKS = "objects without segmentation, for which all masks are left out"


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoFile:
    """N images and their M objects, one image's after the other's, in the order of the file."""

    names: list[str]
    """Paths of the images, below their folder."""
    sizes: np.ndarray
    """int32 [N, 2], height and width of each image, as the file says."""
    category_ids: np.ndarray
    """int64 [C], ascending."""
    category_names: list[str]
    """Names of the categories, in the order of their ids."""
    offsets: np.ndarray
    """int64 [N + 1]: image n has the objects from ``offsets[n]`` to before ``offsets[n + 1]``."""
    categories: np.ndarray
    """int64 [M], positions in ``category_ids``."""
    boxes: np.ndarray
    """float32 [M, 4], left, top, right, bottom, pixels."""
    areas: np.ndarray
    """float32 [M], pixels."""
    crowd: np.ndarray
    """bool [M], COCO's ``iscrowd``."""
    runs: np.ndarray
    """uint8, run lengths of all masks; empty where some objects have none."""
    run_offsets: np.ndarray
    """int64 [M + 1], where those of each object begin in ``runs``; empty where some objects have none."""
    left_out: LeftOut
    """Objects that are not used."""
    digest: str
    """Hex digest of all of it."""

    @property
    def has_masks(self) -> bool:
        """True if each object has a mask."""
        return len(self.run_offsets) > 0

    def masks(self, image: int) -> np.ndarray:
        """Masks of the objects of an image, bool [n, H, W]."""
        offsets = self.run_offsets[self.offsets[image] : self.offsets[image + 1] + 1]
        height, width = self.sizes[image].tolist()
        return decode_masks(self.runs, offsets, height, width)


def read_coco(path: Path, cache: Path) -> CocoFile:
    """Read a JSON of COCO, or what ``cache`` holds of it by its size and time of change.

    Objects without area, and those whose polygons all have less than three corners, are left out and counted.

    Raises:
        UserError: the file cannot be read, is damaged or of another form, or an object has an unknown image
            or category, or a mask of another size than its image.
    """
    try:
        about = with_patience(lambda: os.stat(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    stamp = np.array([_VERSION, about.st_size, about.st_mtime_ns, about.st_ctime_ns], np.int64)
    kept = cache_file(cache, "coco", path)
    arrays = load_arrays(kept, (*_ARRAYS, "stamp", "digest"))
    if arrays is None or not np.array_equal(arrays["stamp"], stamp) or not _is_whole(arrays):
        arrays = _Reading(path).arrays()
        save_arrays(kept, {**arrays, "stamp": stamp, "digest": _digest(arrays)})
    numbers = set(_ARRAYS) - {"names", "category_names", "reasons", "examples", "counts"}
    return CocoFile(
        names=unpack_strings(arrays["names"]),
        category_names=unpack_strings(arrays["category_names"]),
        left_out=LeftOut.of_arrays(arrays),
        digest=_digest(arrays).tobytes().hex(),
        **{name: arrays[name] for name in numbers},
    )


def _is_whole(arrays: dict[str, np.ndarray]) -> bool:
    return np.array_equal(arrays["digest"], _digest(arrays))


def _digest(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """BLAKE2b of all arrays, uint8 [16]."""
    digest = hashlib.blake2b(digest_size=16)
    for name in _ARRAYS:
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return np.frombuffer(digest.digest(), np.uint8)


@dataclass
class _Reading:
    """Contents of a file, as they are read."""

    path: Path
    images: dict[int, int] = field(default_factory=dict)
    """Positions of the images, by id."""
    names: dict[str, None] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything in the file, by the names of the fields of ``CocoFile``."""
        text = self._text()
        annotations = 0
        for name, element in self._elements(text):
            try:
                if name == "images":
                    self._add_image(element)
                elif name == "categories":
                    self._add_category(element)
            except ValueError as error:
                raise UserError(f"{self.path}, {name}: {error}: mend it") from None
            annotations += name == "annotations"
        if not self.images:
            raise UserError(f"{self.path} lists no images: give a JSON of COCO's instances")
        if not self.categories:
            raise UserError(f"{self.path} lists no categories: its objects would have no classes")
        if not annotations:
            raise UserError(f"{self.path} lists no annotations: give a JSON of COCO's instances")
        found = (element for name, element in self._elements(text) if name == "annotations")
        objects = self._objects(show_progress(found, annotations, f"Indexing {self.path.name}"))
        ids = sorted(self.categories)
        return {
            "names": pack_strings(list(self.names)),
            "sizes": np.array(self.sizes, np.int32),
            "category_ids": np.array(ids, np.int64),
            "category_names": pack_strings([self.categories[each] for each in ids]),
            **objects,
            **self.left_out.arrays(),
        }

    def _text(self) -> str:
        try:
            return read_whole(self.path).decode("utf-8")
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{self.path} is no JSON of COCO (it is no text): fetch it again") from None

    def _elements(self, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            for name, element in list_elements(text):
                if name in ("images", "categories", "annotations"):
                    if not isinstance(element, dict):
                        raise ValueError(f"its {name} are no objects")
                    yield name, element
        except ValueError as error:
            raise UserError(f"{self.path} is no JSON of COCO ({error}): fetch it again") from None

    def _add_image(self, element: dict[str, Any]) -> None:
        number = _whole(element, "id")
        name, height, width = _text(element, "file_name"), _whole(element, "height"), _whole(element, "width")
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"the image {visible(name)} lies outside its folder")
        if height <= 0 or not 0 < width * height <= MAX_PIXELS:
            raise ValueError(f"the image {visible(name)} is said to have {height} x {width} pixels")
        if number in self.images or name in self.names:
            raise ValueError(f"the image {visible(name)}, id {number}, stands there twice")
        self.images[number] = len(self.images)
        self.names[name] = None
        self.sizes.append((height, width))

    def _add_category(self, element: dict[str, Any]) -> None:
        number, name = _whole(element, "id"), _text(element, "name")
        if number in self.categories or name in self.categories.values():
            raise ValueError(f"the category {visible(name)}, id {number}, stands there twice")
        self.categories[number] = name

    def _objects(self, elements: Iterator[dict[str, Any]]) -> dict[str, np.ndarray]:
        """Arrays of the objects, in the order of their images."""
        images, categories, crowd = array("q"), array("q"), array("b")
        boxes, areas = array("f"), array("d")
        runs: list[bytes] = []
        bare: list[str] = []  # objects without a mask
        position_of = {number: position for position, number in enumerate(sorted(self.categories))}
        for position, element in enumerate(elements):
            where = f"annotation {element.get('id', f'number {position + 1}')}"
            try:
                image, category = self.images.get(_whole(element, "image_id")), _whole(element, "category_id")
                if image is None:
                    raise ValueError(f"there is no image {element['image_id']}")
                if category not in position_of:
                    raise ValueError(f"there is no category {category}")
                box = _box(element)
                if box is None:
                    self.left_out.add(_NO_AREA, where)
                    continue
                segmentation = element.get("segmentation")
                mask = encode_segmentation(segmentation, *self.sizes[image]) if segmentation else b""
            except ValueError as error:
                raise UserError(f"{self.path}, {visible(where)}: {error}: mend it") from None
            if mask is None:
                self.left_out.add(_NO_CORNERS, where)
                continue
            if not mask:
                bare.append(where)
            images.append(image)
            categories.append(position_of[category])
            crowd.append(element.get("iscrowd") in (1, True))
            boxes.extend(box)
            areas.append(_area(element, box))
            runs.append(mask)
        if bare and len(bare) < len(runs):
            self.left_out.add(_NO_MASKS, bare[0], len(bare))
        order = np.argsort(np.array(images, np.int64), kind="stable")
        counts = np.bincount(np.array(images, np.int64), minlength=len(self.images))
        lengths = np.array([len(runs[index]) for index in order.tolist()], np.int64)
        return {
            "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            "categories": np.array(categories, np.int64)[order],
            "boxes": np.array(boxes, np.float32).reshape(-1, 4)[order],
            "areas": np.array(areas, np.float32)[order],
            "crowd": np.array(crowd, bool)[order],
            "runs": np.frombuffer(b"" if bare else b"".join(map(runs.__getitem__, order.tolist())), np.uint8),
            "run_offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)[: 0 if bare else None],
        }


def _whole(element: dict[str, Any], name: str) -> int:
    value = element.get(name)
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{name} must be a whole number, not {visible(str(value)[:20])}")
    return value


def _text(element: dict[str, Any], name: str) -> str:
    value = element.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{name} must be text, not {visible(str(value)[:20])!r}")
    value.encode()  # a ValueError of half a pair of surrogates
    return value


def _box(element: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom, as float32 has them; None where they have no area."""
    given = element.get("bbox")
    if not isinstance(given, list) or len(given) != 4:
        raise ValueError("bbox must be four numbers")
    if not all(isinstance(side, (int, float)) and abs(side) < 1e9 for side in given):  # nor NaN
        raise ValueError("bbox must be four numbers of pixels")
    left, top, width, height = given
    sides = np.array([left, top, left + width, top + height], np.float32).tolist()
    box = (sides[0], sides[1], sides[2], sides[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def _area(element: dict[str, Any], box: tuple[float, float, float, float]) -> float:
    """The area that the file gives, else the box's."""
    given = element.get("area")
    if isinstance(given, (int, float)) and 0 <= given < 1e18:
        return float(given)
    return (box[2] - box[0]) * (box[3] - box[1])
