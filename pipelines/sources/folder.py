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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.decode.header import IMAGE_EXTENSIONS, UndecodableImageError, image_size_of_file
from pipelines.files.patience import is_of_the_file, open_regular, read_at, with_patience
from pipelines.sources.cache import cache_file, load_arrays, save_arrays
from pipelines.sources.identity import fingerprint, printable, sample_ids, stable_ids
from pipelines.sources.notes import LeftOut
from pipelines.sources.service_files import is_service
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split, split_of_folder

ABOUT = "a folder of images"
_HEADERS_AT_A_TIME = 64
_NAMES_SHOWN = 5


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

    def read(self, index: int) -> bytes:
        """The encoded bytes of a sample."""
        descriptor = open_regular(os.path.join(self._root, self._paths[index]))
        try:
            return read_at(descriptor, 0, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def key(self, index: int) -> str:
        """The key of a sample, which its id is made of: its path below the split without the extension."""
        return os.path.splitext(self._paths[index])[0]

    def describe(self, index: int) -> str:
        """The sample's path."""
        return visible(printable(os.path.join(self._root, self._paths[index])))


def open_folder(path: Path, split: Split, cache: Path) -> FolderSource:
    """Open one split of a folder of images.

    The sizes of the images are read from their headers once and kept in ``cache`` by path, file size and
    times of change: opened again, only the headers of new and changed files are read. An unreadable header
    gives height and width 0.

    Labels count through the class folders, sorted by name, of the train and the test split together.

    Args:
        path: the folder.
        split: "train" or "test".
        cache: folder for the sizes.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such folder, no images in it, loose images beside class folders, folders of which it
            is in doubt whether they are splits or classes, or an error of the disk.
    """
    left_out = LeftOut()
    folders = _split_folders(path, left_out)
    if split not in folders:
        raise NoSplitError(f"{path} has no test split: no val or test folder stands in it")
    root = folders[split]
    files = sorted(all_images(root, left_out))
    paths = [file.path for file in files]
    loose = [path for path in paths if "/" not in path]
    if not files:
        unused = "".join(f"; {note}" for note in left_out.note(root))
        raise UserError(
            f"no images in {root}: it needs JPEG, PNG, WebP or BMP files, best in a folder per class{unused}"
        )
    if loose and len(loose) < len(paths):
        raise UserError(
            f"{root} holds class folders and {len(loose)} images beside them (the first is "
            f"{visible(printable(loose[0]))}): move these into a class folder, or away"
        )
    names = sorted(set().union(*map(_class_folders, folders.values()))) if not loose else []
    heights, widths = image_sizes(root, files, cache_file(cache, "folder", root))
    index = Index(
        sample_ids=sample_ids([path[: path.rindex(".")] for path in paths], paths),
        heights=heights,
        widths=widths,
        labels=_labels(paths, names) if names else None,
        class_names=tuple(map(printable, names)),
        fingerprint=fingerprint(paths, [file.size for file in files]),
        notes=left_out.note(path),
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
    """Time of the last change of the content, nanoseconds."""
    touched: int
    """Time of the last change of content, name or rights, nanoseconds, which no program can set."""


def _split_folders(path: Path, left_out: LeftOut) -> dict[Split, Path]:
    """Find the folders of the splits. Raises a UserError where their names leave doubt."""
    if not path.is_dir():
        raise UserError(f"no such folder: {path}")
    found: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    others: list[Path] = []
    for name in sorted(_folders(path)):
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
    images = [folder for folder in (*splits, *others) if holds_images(folder)]
    if len(images) < 2:
        return
    for folder in splits:
        if _class_folders(folder):
            raise _doubt(path, images, "may be splits or classes")


def _doubt(path: Path, folders: Sequence[Path], why: str) -> UserError:
    listed = " and ".join(visible(printable(folder.name)) for folder in folders[:3])
    return UserError(
        f"{path}: the folders {listed} {why}: name the splits train and val (or test), or give the folder of "
        "the training images itself"
    )


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir() and not is_service(entry.name)]


def _class_folders(path: Path) -> set[str]:
    return {name for name in _folders(path) if holds_images(path / name)}


def _labels(paths: Sequence[str], names: Sequence[str]) -> np.ndarray:
    labels = {name: label for label, name in enumerate(names)}
    return np.array([labels[path.partition("/")[0]] for path in paths], np.int64)


def all_images(root: Path, left_out: LeftOut) -> list[ImageFile]:
    """Image files of a folder and of those below it, in no particular order; other files are counted."""
    found = list(_images_below(root, left_out=left_out, deep=False))

    def listed(name: str) -> tuple[str, list[ImageFile], LeftOut]:
        unused = LeftOut()
        return name, list(_images_below(root, name, left_out=unused)), unused

    empty = []
    for name, files, unused in map_in_threads(listed, _folders(root), f"Listing {root}"):
        found += files
        left_out.merge(unused)
        if unused and not files:
            empty.append(visible(printable(name)))
    if empty and found:
        names = ", ".join(sorted(empty)[:_NAMES_SHOWN]) + (", ..." if len(empty) > _NAMES_SHOWN else "")
        left_out.add("folders, left without images", names, len(empty))
    return found


def _images_below(
    root: Path, below: str = "", *, left_out: LeftOut | None = None, deep: bool = True
) -> Iterator[ImageFile]:
    """The image files of ``root/below``, in no particular order; ``deep``: those of its folders too."""
    start = os.path.join(root, below)
    chain: tuple[str, ...] = (os.path.realpath(start),)
    waiting = [(start, below and below + "/", chain)]
    while waiting:
        folder, prefix, chain = waiting.pop()
        for entry in _entries(folder):
            if is_service(entry.name):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{chain[-1]}/{entry.name}"
                if deep and real not in chain:  # a link to a folder above would never end
                    waiting.append((entry.path, f"{prefix}{entry.name}/", (*chain, real)))
                continue
            reason = _reason_against(entry)
            if reason is None:
                yield _image_file(entry, prefix)
            elif left_out is not None:
                left_out.add(reason, visible(printable(prefix + entry.name)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return with_patience(lambda: list(os.scandir(folder)))
    except OSError as error:
        raise UserError(f"cannot list {visible(printable(folder))}: {error.strerror}") from None


def _reason_against(entry: os.DirEntry[str]) -> str | None:
    """The reason why a file is no image of the data set; None if it is one."""
    if not entry.name.lower().endswith(IMAGE_EXTENSIONS):
        extension = os.path.splitext(entry.name)[1].lower()
        return f"{visible(printable(extension))} files" if extension else "files without extension"
    if not entry.is_file() and not (entry.is_symlink() and not os.path.exists(entry.path)):
        return "pipes, sockets or devices"
    return None


def _image_file(entry: os.DirEntry[str], prefix: str) -> ImageFile:
    try:
        about = entry.stat()
    except OSError:  # a link to nothing: a sample that cannot be read, and will be named
        return ImageFile(prefix + entry.name, 0, 0, 0)
    return ImageFile(prefix + entry.name, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def image_sizes(root: Path, files: Sequence[ImageFile], kept: Path) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths (int32 [N]) from the cache file ``kept`` and, of the others, from their headers.

    An unreadable header gives 0.
    """
    marks = stable_ids(printable(f"{f.path}\0{f.size}\0{f.changed}\0{f.touched}") for f in files)
    sizes = np.zeros((len(files), 2), np.int32)
    stored = load_arrays(kept, ("marks", "sizes"))
    if stored is not None and _are_sizes(stored["marks"], stored["sizes"]):
        order = np.argsort(stored["marks"])
        found = order[np.minimum(np.searchsorted(stored["marks"], marks, sorter=order), len(order) - 1)]
        known = stored["marks"][found] == marks
        sizes[known] = stored["sizes"][found[known]]
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    if len(unknown):
        paths = [os.path.join(root, files[index].path) for index in unknown.tolist()]
        sizes[unknown] = map_in_threads(_size_or_zero, paths, "Reading headers", chunk=_HEADERS_AT_A_TIME)
        good = sizes[:, 0] > 0  # an unreadable one is looked at again next time
        save_arrays(kept, {"marks": marks[good], "sizes": sizes[good]})
    return sizes[:, 0].copy(), sizes[:, 1].copy()


def _are_sizes(marks: np.ndarray, sizes: np.ndarray) -> bool:
    """True if the arrays of a cache file fit together, and hold anything."""
    types = (marks.dtype, sizes.dtype) == (np.dtype(np.int64), np.dtype(np.int32))
    return types and marks.ndim == 1 and sizes.shape == (len(marks), 2) and len(marks) > 0


def _size_or_zero(path: str) -> tuple[int, int]:
    try:
        return with_patience(lambda: image_size_of_file(path))
    except UndecodableImageError:
        return 0, 0
    except OSError as error:
        if is_of_the_file(error):
            return 0, 0
        shown = visible(printable(path))
        raise UserError(f"cannot read {shown}: {error.strerror}; start the same command again") from None
