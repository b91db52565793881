"""Cityscapes as it is on disk: street scenes whose pixels have classes.

``DIR`` holds ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`` and, of the same names, ``gtFine/SPLIT/CITY/
NAME_gtFine_labelIds.png``; splits are train and val. Of Cityscapes' 34 label ids the 19 that its benchmark
evaluates are classes, by their train ids; pixels of the others are IGNORED. A set of other classes in such
folders has a ``classes.txt`` in ``DIR``, a name per line: its label ids are the positions in it, from 0, and
255 is IGNORED.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.text import visible
from pipelines.decode.header import UndecodableImageError, open_with_pillow
from pipelines.decode.png import is_png, picture_only
from pipelines.files.patience import read_whole, with_patience
from pipelines.sources.cache import cache_file
from pipelines.sources.folder import FolderSource
from pipelines.sources.identity import fingerprint, printable, sample_ids
from pipelines.sources.image_files import ImageFiles, all_images
from pipelines.sources.image_sizes import image_sizes
from pipelines.sources.listed_files import find_listed
from pipelines.sources.notes import LeftOut
from pipelines.sources.source import Index
from pipelines.sources.splits import NoSplitError, Split
from pipelines.targets import IGNORED, TargetKind, Targets

ABOUT = "Cityscapes' folders"
IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE_END, LABEL_END = "_leftImg8bit.png", "_gtFine_labelIds.png"
CLASS_FILE = "classes.txt"
FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}
# The id of each class, in the order of train ids: github.com/mcordts/cityscapesScripts, helpers/labels.py.
CLASSES = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
_IDS = 34
_BIT_DEPTH = 24  # its place in a PNG
_UNKNOWN = 254  # class of numbers that are no label ids


def takes(where: str) -> bool:
    """True if a folder with ``leftImg8bit`` and ``gtFine`` is meant."""
    return all((user_path(where) / part).is_dir() for part in (IMAGES, LABELS))


class CityscapesSource(FolderSource):
    """Images of Cityscapes with the classes of their pixels (a ``TargetSource``).

    Args:
        labels: of the label files, whole paths.
        classes: uint8 [256], the class of each label id.
    """

    target_kinds: frozenset[TargetKind] = frozenset({"segmentation"})

    def __init__(
        self, index: Index, root: Path, paths: Sequence[str], *, labels: Sequence[str], classes: np.ndarray
    ) -> None:
        super().__init__(index, root, paths)
        self._labels, self._classes = labels, classes

    def key(self, index: int) -> str:
        """The key of an image: its name, which begins with its city."""
        return _key(self._paths[index])

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``."""
        path = self._labels[index]
        segmentation = self._classes[_read_labels(path)]
        if (segmentation == _UNKNOWN).any():
            raise UserError(f"{visible(printable(path))} holds numbers that are no label ids: fetch it again")
        height, width = segmentation.shape
        return Targets(height=height, width=width, segmentation=segmentation)


def open_split(where: str, split: Split, cache: Path) -> CityscapesSource:
    """Open one split.

    Raises:
        NoSplitError: asked for "test" where there is no val folder.
        UserError: no training images, a label file that is missing or of another size than its image, or a
            ``classes.txt`` that is no list of names.
    """
    root = user_path(where)
    names, classes = _classes(root / CLASS_FILE)
    folder = root / IMAGES / FOLDERS[split]
    if not folder.is_dir():
        kind = UserError if split == "train" else NoSplitError
        raise kind(f"{root} has no {split} split: no folder {IMAGES}/{FOLDERS[split]} stands in it")
    left_out = LeftOut()
    images = _images(folder, left_out)
    paths = images.paths
    labels = _labels(root / LABELS / FOLDERS[split], paths)
    heights, widths = image_sizes(folder, images, cache_file(cache, "cityscapes", folder))
    _check_sizes(root / LABELS / FOLDERS[split], labels, heights, widths, cache)
    index = Index(
        sample_ids=sample_ids([_key(path) for path in paths], paths),
        heights=heights,
        widths=widths,
        labels=None,
        class_names=(),
        segmentation_names=names,
        fingerprint=fingerprint(
            [*paths, *labels.paths],
            [*images.bytes, *labels.bytes],
            None,
            names,
        ),
        notes=left_out.note(folder),
    )
    whole = [os.path.join(root, LABELS, FOLDERS[split], path) for path in labels.paths]
    return CityscapesSource(index, folder, paths, labels=whole, classes=classes)


def _key(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(IMAGE_END)


def _classes(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes, and the class of each label id, uint8 [256]."""
    table = np.full(256, _UNKNOWN, np.uint8)
    table[IGNORED] = IGNORED
    if not path.exists():
        table[:_IDS] = IGNORED
        table[list(CLASSES.values())] = np.arange(len(CLASSES))
        return tuple(CLASSES), table
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error}): mend it") from None
    if not all(names) or len(set(names)) < len(names) or not 0 < len(names) < _UNKNOWN:
        raise UserError(f"{path} must hold 1 to {_UNKNOWN - 1} names, a line each, all different: mend it")
    table[: len(names)] = np.arange(len(names))
    return tuple(names), table


def _images(folder: Path, left_out: LeftOut) -> ImageFiles:
    """The images of all cities, sorted by path."""
    found, images = all_images(folder, left_out), []
    for index, path in enumerate(found.paths):
        if path.endswith(IMAGE_END) and path.count("/") == 1:
            images.append(index)
        else:
            left_out.add(f"images that are not named CITY/NAME{IMAGE_END}", visible(printable(path)))
    if not images:
        unused = "".join(f"; {note}" for note in left_out.note(folder))
        raise UserError(f"no images in {folder}: it needs folders of NAME{IMAGE_END}{unused}")
    return found.take(images)


def _labels(folder: Path, paths: Sequence[str]) -> ImageFiles:
    wanted = [path.removesuffix(IMAGE_END) + LABEL_END for path in paths]
    files, there = find_listed(folder, wanted, f"Looking for labels in {folder}")
    if not there.all():
        lost = visible(printable(wanted[int(there.argmin())]))
        raise UserError(
            f"{(~there).sum()} of {len(there)} images have no label file in {folder}, the first missing one "
            f"is {lost}: unpack {LABELS} there"
        )
    return files


def _check_sizes(
    folder: Path, labels: ImageFiles, heights: np.ndarray, widths: np.ndarray, cache: Path
) -> None:
    """Refuse label files of another size than their image; an unreadable image is told when it is read."""
    found = np.stack(image_sizes(folder, labels, cache_file(cache, "cityscapes-labels", folder)), axis=1)
    said = np.stack([heights, widths], axis=1)
    wrong = np.flatnonzero((found != said).any(axis=1) & (heights > 0))
    if len(wrong):
        first = int(wrong[0])
        sides, own = (" x ".join(map(str, sizes[first].tolist())) for sizes in (found, said))
        shown = visible(printable(os.path.join(folder, labels.paths[first])))
        raise UserError(f"the label file {shown} has {sides} pixels, its image {own}: fetch both again")


def _read_labels(path: str) -> np.ndarray:
    """Label ids, uint8 [H, W]."""
    shown = visible(printable(path))
    try:
        data = with_patience(lambda: read_whole(path))
    except OSError as error:
        raise UserError(f"cannot read {shown}: {error.strerror}; start the same command again") from None
    try:
        if not is_png(data):
            raise UndecodableImageError("it is no PNG")
        with open_with_pillow(picture_only(data)) as image:
            # Pillow scales the levels of a gray image of less than 8 bits
            if image.mode != "P" and (image.mode != "L" or data[_BIT_DEPTH] != 8):
                raise UserError(f"{shown} has no numbers of 8 bits: give a PNG that is gray or has a palette")
            return np.asarray(image)
    except UserError:
        raise
    except Exception as error:  # untrusted bytes: Pillow's parsers raise a dozen kinds
        raise UserError(f"the label file {shown} is damaged ({error}): fetch it again") from None
