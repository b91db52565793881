"""A folder of image files: class folders, or one heap of images without labels.

``WHERE`` may hold the splits as ``train/`` and ``val/`` or ``test/``; without them all of it is the "train"
split. A ``train`` folder that stands beside other folders of images, none of them ``val`` or ``test``, is a
class (ships, trains, ...). Files deeper down belong to the class folder at the top. Symbolic links are
followed, hidden files and folders skipped, and files that are no images by their extension too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import map_in_threads
from pipelines.decode.header import IMAGE_EXTENSIONS, UndecodableImageError, image_size_of_file
from pipelines.keys import stable_id
from pipelines.sources.cache import cache_file, load_arrays, save_arrays
from pipelines.sources.identity import fingerprint, printable, sample_ids
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split

ABOUT = "a folder of images"
_HEADERS_AT_A_TIME = 64


def takes(where: str) -> bool:
    """True if a folder is meant."""
    return path_of(where).is_dir()


def open_split(where: str, split: Split, cache: Path) -> FolderSource:
    """See ``open_folder``."""
    return open_folder(path_of(where), split, cache)


def path_of(where: str) -> Path:
    """The path that a user names; ``~`` is the home folder."""
    return user_path(where)


class FolderSource:
    """Images that are files of their own (a ``Source``); their paths are below a root, or absolute."""

    def __init__(self, index: Index, root: Path, paths: Sequence[str]) -> None:
        self.index = index
        self._root = root
        self._paths = paths

    def read(self, number: int) -> bytes:
        """The encoded bytes of a sample."""
        with open(os.path.join(self._root, self._paths[number]), "rb", buffering=0) as file:
            return file.read()

    def key(self, number: int) -> str:
        """The key of a sample, which its id is made of: its path below the split without the extension."""
        return os.path.splitext(self._paths[number])[0]

    def describe(self, number: int) -> str:
        """The sample's path."""
        return printable(os.path.join(self._root, self._paths[number]))


def open_folder(path: Path, split: Split, cache: Path) -> FolderSource:
    """Open one split of a folder of images.

    The sizes of the images are read from their headers once and kept in ``cache`` by path, file size and
    time of change: opened again, only the headers of new and changed files are read. An unreadable header
    gives height and width 0.

    Labels count through the class folders, sorted by name, of the train and the test split together.

    Args:
        path: the folder.
        split: "train" or "test".
        cache: folder for the sizes.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such folder, no images in it, or loose images beside class folders.
    """
    folders = _split_folders(path)
    if split not in folders:
        raise NoSplitError(f"{path} has no test split: no val or test folder stands in it")
    root = folders[split]
    files = sorted(_all_images(root))
    paths = [file.path for file in files]
    loose = [path for path in paths if "/" not in path]
    if not files:
        raise UserError(
            f"no images in {root}: it needs JPEG, PNG, WebP or BMP files, best in a folder per class"
        )
    if loose and len(loose) < len(paths):
        raise UserError(
            f"{root} holds class folders and {len(loose)} images beside them (the first is "
            f"{printable(loose[0])}): move these into a class folder, or away"
        )
    names = sorted(set().union(*map(_class_folders, folders.values()))) if not loose else []
    heights, widths = image_sizes(root, files, cache_file(cache, "folder", root))
    index = Index(
        sample_ids=sample_ids([os.path.splitext(path)[0] for path in paths], paths),
        heights=heights,
        widths=widths,
        labels=_labels(paths, names) if names else None,
        class_names=tuple(map(printable, names)),
        fingerprint=fingerprint(paths, [file.size for file in files]),
    )
    return FolderSource(index, root, paths)


def holds_images(path: Path) -> bool:
    """True if there is an image file anywhere in a folder; looks no further than the first."""
    return next(_images_below(path), None) is not None


class ImageFile(NamedTuple):
    """An entry of a folder listing."""

    path: str
    """Path below the split's folder, with "/"."""
    size: int
    """Bytes."""
    changed: int
    """Time of the last change, nanoseconds."""


def _split_folders(path: Path) -> dict[Split, Path]:
    if not path.is_dir():
        raise UserError(f"no such folder: {path}")
    train = path / "train"
    test = next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)
    if not train.is_dir():
        return {"train": path}
    if test is not None:
        return {"train": train, "test": test}
    others = [path / name for name in _folders(path) if name != "train"]
    return {"train": path} if any(map(holds_images, others)) else {"train": train}


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")]


def _class_folders(path: Path) -> set[str]:
    return {name for name in _folders(path) if holds_images(path / name)}


def _labels(paths: Sequence[str], names: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[path.partition("/")[0]] for path in paths], np.int64)


def _all_images(root: Path) -> list[ImageFile]:
    top = [ImageFile(*file) for file in _images_below(root, deep=False)]
    parts = map_in_threads(lambda name: list(_images_below(root, name)), _folders(root), f"Listing {root}")
    return top + [file for part in parts for file in part]


def _images_below(root: Path, below: str = "", *, deep: bool = True) -> Iterator[ImageFile]:
    """The image files of ``root/below``, in no particular order; ``deep``: those of its folders too."""
    start = os.path.join(root, below)
    chain: tuple[str, ...] = (os.path.realpath(start),)
    waiting = [(start, below and below + "/", chain)]
    while waiting:
        folder, prefix, chain = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UserError(f"cannot list {printable(folder)}: {error.strerror}") from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{chain[-1]}/{entry.name}"
                if deep and real not in chain:  # a link to a folder above would never end
                    waiting.append((entry.path, f"{prefix}{entry.name}/", (*chain, real)))
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS):
                try:
                    stat = entry.stat()
                    yield ImageFile(prefix + entry.name, stat.st_size, stat.st_mtime_ns)
                except OSError:  # a link to nothing: a sample that cannot be read, and will be named
                    yield ImageFile(prefix + entry.name, 0, 0)


def image_sizes(root: Path, files: Sequence[ImageFile], kept: Path) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths (int32 [N]) from the cache file ``kept`` and, of the others, from their headers.

    An unreadable header gives 0.
    """
    marks = np.array([stable_id(printable(f"{f.path}\0{f.size}\0{f.changed}")) for f in files], np.int64)
    sizes = np.zeros((len(files), 2), np.int32)
    stored = load_arrays(kept, ("marks", "sizes"))
    if stored is not None and len(stored["marks"]):
        order = np.argsort(stored["marks"])
        found = order[np.minimum(np.searchsorted(stored["marks"], marks, sorter=order), len(order) - 1)]
        known = stored["marks"][found] == marks
        sizes[known] = stored["sizes"][found[known]]
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    if len(unknown):
        paths = [os.path.join(root, files[number].path) for number in unknown.tolist()]
        sizes[unknown] = map_in_threads(_size_or_zero, paths, "Reading headers", chunk=_HEADERS_AT_A_TIME)
        good = sizes[:, 0] > 0  # an unreadable one is looked at again next time
        save_arrays(kept, {"marks": marks[good], "sizes": sizes[good]})
    return sizes[:, 0].copy(), sizes[:, 1].copy()


def _size_or_zero(path: str) -> tuple[int, int]:
    try:
        return image_size_of_file(path)
    except (OSError, UndecodableImageError):
        return 0, 0
