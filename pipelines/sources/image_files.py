"""Image files of a folder, in columns: there may be millions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.decode.header import IMAGE_EXTENSIONS
from pipelines.files.patience import with_patience
from pipelines.files.system_calls import stat_files
from pipelines.sources.identity import printable
from pipelines.sources.notes import LeftOut
from pipelines.sources.service_files import is_service

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class ImageFiles:
    """Files in an order."""

    paths: list[str]
    """Paths below a folder, with "/"."""
    about: np.ndarray
    """int64 [N, 3]: bytes; time of the last change of the content, in nanoseconds; time of the last change of
    content, name or rights, which no program can set."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def bytes(self) -> np.ndarray:
        """Bytes of each file, int64 [N]."""
        return self.about[:, 0]

    def take(self, order: Sequence[int]) -> ImageFiles:
        """Those at ``order``."""
        return ImageFiles([self.paths[index] for index in order], self.about[np.asarray(order, np.int64)])


def about_file(about: os.stat_result) -> tuple[int, int, int]:
    """A row of ``ImageFiles.about``."""
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def gather(paths: Sequence[str], rows: Sequence[tuple[int, int, int]]) -> ImageFiles:
    """The files at ``paths`` with their rows of ``about``."""
    return ImageFiles(list(paths), np.array(rows, np.int64).reshape(-1, 3))


def all_images(root: Path, left_out: LeftOut) -> ImageFiles:
    """Image files of a folder and of those below it, sorted by path; other files are counted."""

    def listed(name: str) -> tuple[str, list[ImageFiles], LeftOut]:
        unused = LeftOut()
        return name, list(_images_below(root, name, unused)), unused

    parts, empty = list(_images_below(root, "", left_out, deep=False)), []
    for name, found, unused in map_in_threads(listed, folders(root), f"Listing {root}"):
        parts += found
        left_out.merge(unused)
        if unused and not any(map(len, found)):
            empty.append(visible(printable(name)))
    paths = [path for part in parts for path in part.paths]
    files = ImageFiles(paths, np.concatenate([part.about for part in parts]))
    if empty and files.paths:
        names = ", ".join(sorted(empty)[:_NAMES_SHOWN]) + (", ..." if len(empty) > _NAMES_SHOWN else "")
        left_out.add("folders, left without images", names, len(empty))
    return files.take(sorted(range(len(files)), key=files.paths.__getitem__))


def holds_images(path: Path) -> bool:
    """True if there is an image file anywhere in a folder; looks no further than the first."""
    return any(
        _reason_against(entry) is None
        for _, _, entries in _walk(os.fspath(path))
        for entry in entries
        if not entry.is_dir()
    )


def folders(path: Path) -> list[str]:
    """Names of the folders in a folder, but for a system's."""
    return [entry.name for entry in os.scandir(path) if entry.is_dir() and not is_service(entry.name)]


def _images_below(root: Path, below: str, left_out: LeftOut, *, deep: bool = True) -> Iterator[ImageFiles]:
    """The image files of ``root/below``, folder by folder; ``deep``: those of its folders too."""
    for folder, prefix, entries in _walk(os.path.join(root, below), below and below + "/", deep=deep):
        names, links = [], []
        for entry in entries:
            if entry.name.lower().endswith(IMAGE_EXTENSIONS) and entry.is_file(follow_symlinks=False):
                names.append(entry.name)  # nearly all
            elif not entry.is_dir():
                reason = _reason_against(entry)
                if reason is None:
                    links.append(entry)
                else:
                    left_out.add(reason, visible(printable(prefix + entry.name)))
        others = gather([prefix + entry.name for entry in links], [_about_link(entry) for entry in links])
        rows = np.concatenate([_about_files(folder, names), others.about])
        yield ImageFiles([prefix + name for name in names] + others.paths, rows)


def _walk(
    start: str, prefix: str = "", *, deep: bool = True
) -> Iterator[tuple[str, str, list[os.DirEntry[str]]]]:
    """A folder and those below it: path, prefix of their files' paths, and entries but for a system's."""
    chain: tuple[str, ...] = (os.path.realpath(start),)
    waiting = [(start, prefix, chain)]
    while waiting:
        folder, prefix, chain = waiting.pop()
        entries = [entry for entry in _entries(folder) if not is_service(entry.name)]
        yield folder, prefix, entries
        for entry in entries if deep else ():
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{chain[-1]}/{entry.name}"
                if real not in chain:  # a link to a folder above would never end
                    waiting.append((entry.path, f"{prefix}{entry.name}/", (*chain, real)))


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


def _about_files(folder: str, names: Sequence[str]) -> np.ndarray:
    """Rows of regular files; zeros for one that is gone."""
    try:
        return np.maximum(with_patience(lambda: stat_files(folder, names)), 0)
    except OSError as error:
        raise UserError(f"cannot list {visible(printable(folder))}: {error.strerror}") from None


def _about_link(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    try:
        return about_file(entry.stat())
    except OSError:  # a link to nothing: a sample that cannot be read, and will be named
        return 0, 0, 0
