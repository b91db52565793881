"""A folder of image files: class folders, or one heap of images without labels.

``WHERE`` may hold the splits as ``train/`` and ``val/`` or ``test/``, or by their other names in any case
(Train, training, trainset, train2017; valid, validation, val2017; testing); without them all of it is the
"train" split. A ``train`` folder of images that stands beside other folders of images is a class (ships,
trains, ...); one that holds class folders itself leaves doubt, and is refused. Files deeper down belong to
the class folder at the top. Symbolic links are followed; hidden files and folders and those of other systems
are no data, and files that are no images by their extension are counted.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.text import visible
from pipelines.files.patience import read_whole
from pipelines.sources.cache import cache_file
from pipelines.sources.identity import fingerprint, printable, sample_ids
from pipelines.sources.image_files import all_images, folders, holds_images
from pipelines.sources.image_sizes import image_sizes
from pipelines.sources.notes import LeftOut
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split, split_of_folder

ABOUT = "a folder of images"


def takes(where: str) -> bool:
    """True if a folder is meant."""
    return user_path(where).is_dir()


class FolderSource:
    """Images that are files of their own (a ``Source``); their paths are below a root, or absolute."""

    def __init__(self, index: Index, root: Path, paths: Sequence[str]) -> None:
        self.index = index
        self._root = root
        self._paths = paths

    def read(self, index: int) -> bytes:
        """The encoded bytes of a sample."""
        return read_whole(os.path.join(self._root, self._paths[index]))

    def key(self, index: int) -> str:
        """The key of a sample, which its id is made of: its path below the split without the extension."""
        return os.path.splitext(self._paths[index])[0]

    def describe(self, index: int) -> str:
        """The sample's path."""
        return visible(printable(os.path.join(self._root, self._paths[index])))


def open_split(where: str, split: Split, cache: Path) -> FolderSource:
    """Open one split of a folder of images.

    The sizes of the images are read from their headers once and kept in ``cache`` by path, file size and
    times of change: opened again, only the headers of new and changed files are read. An unreadable header
    gives height and width 0.

    Labels count through the class folders, sorted by name, of the train and the test split together.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no images in it, loose images beside class folders, folders of which it
            is in doubt whether they are splits or classes, or an error of the disk.
    """
    left_out, path = LeftOut(), user_path(where)
    splits = _split_folders(path, left_out)
    if split not in splits:
        raise NoSplitError(f"{path} has no test split: no val or test folder stands in it")
    root = splits[split]
    files = all_images(root, left_out)
    paths = files.paths
    counts, loose = _count_by_class(paths)
    if not paths:
        unused = "".join(f"; {note}" for note in left_out.note(root))
        raise UserError(
            f"no images in {root}: it needs JPEG, PNG, WebP or BMP files, best in a folder per class{unused}"
        )
    if loose and counts:
        raise UserError(
            f"{root} holds class folders and {len(loose)} images beside them (the first is "
            f"{visible(printable(loose[0]))}): move these into a class folder, or away"
        )
    others = (_class_folders(folder) for folder in splits.values() if folder != root)
    names = sorted(set(counts).union(*others)) if not loose else []
    heights, widths = image_sizes(root, files, cache_file(cache, "folder", root))
    index = Index(
        sample_ids=sample_ids((path[: path.rindex(".")] for path in paths), paths),
        heights=heights,
        widths=widths,
        labels=_labels(counts, names) if names else None,
        class_names=tuple(map(printable, names)),
        fingerprint=fingerprint(paths, files.bytes),
        notes=left_out.note(path),
    )
    return FolderSource(index, root, paths)


def _split_folders(path: Path, left_out: LeftOut) -> dict[Split, Path]:
    """Find the folders of the splits. Raises a UserError where their names leave doubt."""
    found: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    others: list[Path] = []
    for name in sorted(folders(path)):
        found.get(split_of_folder(name) or "", others).append(path / name)
    tests = [folder for name in TEST_NAMES for folder in found[name]]
    for candidates in found.values():
        if len(candidates) > 1 and found["train"] and tests:
            raise _doubt(path, candidates, "stand for the same split")
    if not found["train"] or not tests:
        _refuse_doubt(path, found["train"] + tests, others)
        alone = found["train"] and not any(map(holds_images, others)) and len(found["train"]) == 1
        return {"train": found["train"][0] if alone else path}
    for folder in tests[1:] + list(filter(holds_images, others)):
        left_out.add("folders beside the splits", folder.name)
    return {"train": found["train"][0], "test": tests[0]}


def _refuse_doubt(path: Path, splits: Sequence[Path], others: Sequence[Path]) -> None:
    """Refuse folders named as splits that hold class folders and would become classes themselves."""
    if not splits:
        return
    images = [folder for folder in (*splits, *others) if holds_images(folder)]
    if len(images) < 2:
        return
    for folder in splits:
        if _class_folders(folder):
            raise _doubt(path, images, "may be splits or classes")


def _doubt(path: Path, among: Sequence[Path], why: str) -> UserError:
    listed = " and ".join(visible(printable(folder.name)) for folder in among[:3])
    return UserError(
        f"{path}: the folders {listed} {why}: name the splits train and val (or test), or give the folder of "
        "the training images itself"
    )


def _class_folders(path: Path) -> set[str]:
    return {name for name in folders(path) if holds_images(path / name)}


def _count_by_class(paths: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Images of each class folder, in the order of the sorted paths; and those that lie loose."""
    counts: dict[str, int] = {}
    loose, first = [], 0
    while first < len(paths):
        name, slash, _ = paths[first].partition("/")
        end = bisect_left(paths, f"{name}0", first) if slash else first + 1  # "0" comes after "/"
        if slash:
            counts[name] = end - first
        else:
            loose.append(name)
        first = end
    return counts, loose


def _labels(counts: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    labels = {name: label for label, name in enumerate(names)}
    return np.repeat(np.array([labels[name] for name in counts], np.int64), list(counts.values()))
