"""Parquet files with random access to their images: nothing is copied, no row group is read for one image.

``WHERE`` is a glob (``DIR/train-*.parquet``), a range in braces, one file, or a folder: of such files, with a
folder ``data`` of them, as the Hugging Face hub has it, or with a folder of them per split. Splits go by the
words "train", "val" and "test" in the names. Images are a column ``image`` or ``img`` (bytes, or a struct of
bytes and path), labels a column ``label``, numbers or text; ``WHERE?image=photo&label=kind`` names others.

The key of a sample is its path without the extension, where the paths of the split are all there, distinct,
and names that a tar can hold; else it is ``FILE/ROW``, as in ``train-00000-of-00002/00000017``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import show_progress, stream_in_threads
from pipelines.command.text import visible
from pipelines.sources.identity import fingerprint, largest_class, printable, sample_ids
from pipelines.sources.image_files import holds_images
from pipelines.sources.notes import LeftOut
from pipelines.sources.parquet.arrow import decompress
from pipelines.sources.parquet.columns import Asked, split_where
from pipelines.sources.parquet.pages import (
    CODEC,
    CODECS,
    HEIGHT,
    LENGTH,
    OFFSET,
    STORED,
    UNPACKED,
    WIDTH,
    unpack_image,
)
from pipelines.sources.parquet.parquet_index import NO_LABEL, ParquetIndex, index_file
from pipelines.sources.patterns import expand, files_of_split
from pipelines.sources.service_files import lies_in_service
from pipelines.sources.shards import key_of
from pipelines.sources.slices import FileName, Files, FileSlices
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split, split_of_folder

ABOUT = "Parquet files"
_SUFFIX = ".parquet"
_MOST_AT_A_TIME = 4  # files that are indexed at a time: each holds a page in memory, packed and unpacked
_COSTLY = 4  # bytes decoded per byte of image from which on a word is due


def takes(where: str) -> bool:
    """True if Parquet files are meant, or a folder of them that holds neither images nor tars."""
    path = user_path(split_where(where)[0])
    if not path.is_dir():
        return path.suffix == _SUFFIX
    return not holds_images(path) and not any(path.glob("*.tar")) and bool(_folders_of_files(path))


class ParquetSource(FileSlices):
    """Images in Parquet files (a ``Source``)."""

    def __init__(
        self,
        index: Index,
        paths: Sequence[FileName],
        indices: Sequence[ParquetIndex],
        keys: Sequence[str],
        files: Files | None = None,
    ) -> None:
        self.index = index
        self._keys = keys
        self._table = np.concatenate([file.table for file in indices])
        self._rows = np.concatenate([file.rows for file in indices])
        counts = [len(file.rows) for file in indices]
        super().__init__(paths, counts, self._table[:, OFFSET], self._table[:, STORED], files)

    def read(self, index: int) -> bytes:
        """The encoded bytes of a sample."""
        return unpack_image(self.stored(index), self._table[index], decompress)

    def key(self, index: int) -> str:
        """The key of a sample, which its id is made of."""
        return self._keys[index]

    def describe(self, index: int) -> str:
        """``path/of/file.parquet:row 17``, counted from 0."""
        file, _ = self.place(index)
        return f"{printable(str(self.paths[file]))}:row {self._rows[index]}"


def open_split(where: str, split: Split, cache: Path) -> ParquetSource:
    """Open one split of a set of Parquet files.

    Each file is read through once, for the places and sizes of its images; these are kept in ``cache`` by
    path, file size and times of change. Numbers are labels as they stand, with the names that ``datasets``
    keeps in the file; text counts through the sorted names of both splits. Where some samples lack a label,
    none is used, and a note of the index says so.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such files, one that is damaged, without images or with other columns than the first,
            or pyarrow is not installed.
    """
    named, asked = split_where(where)
    left_out, pattern = LeftOut(), str(user_path(named))
    paths = _files(pattern, split, left_out)

    def others() -> list[ParquetIndex]:
        return _indices(_files(pattern, "test" if split == "train" else "train", LeftOut()), asked, cache)

    return parquet_source(pattern, paths, _indices(paths, asked, cache), left_out, others)


def parquet_source(
    pattern: str,
    paths: Sequence[FileName],
    indices: Sequence[ParquetIndex],
    left_out: LeftOut,
    others: Callable[[], Sequence[ParquetIndex]],
    files: Files | None = None,
) -> ParquetSource:
    """The source of a split's files.

    Args:
        others: finds the indices of the other split, whose classes count too where they are told by name.
        files: opens the files; None: they are on this machine.

    Raises:
        UserError: no images in them, or files with other columns than the first.
    """
    _refuse_different_columns(paths, indices)
    table = np.concatenate([file.table for file in indices])
    if not len(table):
        raise UserError(f"no images in {pattern}: its files have no rows")
    for path, file in zip(paths, indices, strict=True):
        if file.nulls:
            left_out.add("rows without an image", printable(path.name), file.nulls)
    keys, full_names = _keys(paths, indices)
    labels, class_names, notes = _labels(pattern, indices, others)
    index = Index(
        sample_ids=sample_ids(keys, full_names),
        heights=table[:, HEIGHT].astype(np.int32),
        widths=table[:, WIDTH].astype(np.int32),
        labels=labels,
        class_names=class_names,
        fingerprint=fingerprint(keys, table[:, LENGTH].tolist(), labels, class_names),
        notes=left_out.note(pattern) + notes + _note_of_cost(pattern, table),
    )
    return ParquetSource(index, paths, indices, keys, files)


def _folders_of_files(path: Path) -> dict[str, list[Path]]:
    """The files of a folder by split, or under "" where their names tell it."""
    for folder in (path, path / "data"):
        if any(folder.glob(f"*{_SUFFIX}")):
            return {"": expand(str(folder), _SUFFIX)}
    found: dict[str, list[Path]] = {}
    for folder in sorted(path.iterdir()):
        split = split_of_folder(folder.name) if folder.is_dir() else None
        if split is not None and any(folder.glob(f"*{_SUFFIX}")):
            found[split] = expand(str(folder), _SUFFIX)
    return found


def _files(pattern: str, split: Split, left_out: LeftOut) -> list[Path]:
    folders = _folders_of_files(Path(pattern)) if Path(pattern).is_dir() else {}
    if not folders or "" in folders:
        return files_of_split(folders.get("") or expand(pattern, _SUFFIX), split, pattern, left_out)
    tests = next((folders[name] for name in TEST_NAMES if name in folders), None)
    found = folders.get("train") if split == "train" else tests if "train" in folders else None
    if found is None and split == "test":
        raise NoSplitError(f"{pattern} has no test split: no folder validation or test beside train")
    return found or tests or []


def _indices(paths: Sequence[Path], asked: Asked, cache: Path) -> list[ParquetIndex]:
    workers = min(_MOST_AT_A_TIME, len(os.sched_getaffinity(0)))
    found = stream_in_threads(lambda path: index_file(path, asked, cache), paths, workers)
    return list(show_progress(found, len(paths), "Indexing Parquet files"))


def _refuse_different_columns(paths: Sequence[FileName], files: Sequence[ParquetIndex]) -> None:
    first = files[0].columns
    for path, file in zip(paths, files, strict=True):
        for what, one, other in (
            ("has its images in column", first.image, file.columns.image),
            ("has its labels in column", first.label, file.columns.label),
            ("names its classes", ", ".join(first.class_names), ", ".join(file.columns.class_names)),
        ):
            if one != other:
                raise UserError(
                    f"{printable(str(path))} {what} {visible(other[:80]) or '(none)'}, and {paths[0].name} "
                    f"{visible(one[:80]) or '(none)'}: give files of one data set"
                )


def _keys(names_of: Sequence[FileName], files: Sequence[ParquetIndex]) -> tuple[list[str], list[str]]:
    """The keys of the samples, and names that are distinct in any case."""
    paths = [Path(str(name)) for name in names_of]
    root = os.path.commonpath([path.parent for path in paths])
    names = [printable(str(path.relative_to(root))) for path in paths]
    full_names = [
        f"{name}:{row}" for name, file in zip(names, files, strict=True) for row in file.rows.tolist()
    ]
    keys = [os.path.splitext(path)[0] for file in files for path in file.paths]
    if len(set(keys)) == len(keys) and all(map(_suits_tar, keys)):
        return keys, full_names
    stems = [key_of(name) for name in names]
    if len({os.path.basename(stem) for stem in stems}) == len(stems):
        stems = [os.path.basename(stem) for stem in stems]
    keys = [
        f"{stem}/{row:08d}" for stem, file in zip(stems, files, strict=True) for row in file.rows.tolist()
    ]
    return keys, full_names


def _suits_tar(key: str) -> bool:
    """True if a member of a tar keeps this key."""
    plain = key_of(f"{key}.") == key and os.path.basename(key) != ""
    return plain and not key.startswith("/") and ".." not in key.split("/") and not lies_in_service(key)


def _labels(
    pattern: str, files: Sequence[ParquetIndex], others: Callable[[], Sequence[ParquetIndex]]
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Labels (int64 [N] or None), class names, and a note where labels are not used."""
    notes = [file.columns.note for file in files if file.columns.note]
    numbers = np.concatenate([file.labels for file in files])
    names = [name for file in files for name in file.label_names]
    numbered = numbers != NO_LABEL
    named = np.array([name != "" for name in names])
    there = named if named.any() else numbered
    if notes or not there.any():
        return None, (), tuple(notes[:1])
    if not there.all():
        missing = len(there) - int(there.sum())
        return None, (), (f"labels are not used: {missing} of {len(there)} images of {pattern} have none",)
    if named.any():
        known = set(names)
        with suppress(NoSplitError):
            known |= {name for file in others() for name in file.label_names if name}
        label_of = {name: label for label, name in enumerate(sorted(known))}
        return np.array([label_of[name] for name in names], np.int64), tuple(label_of), ()
    largest = int(numbers.max())
    if largest >= largest_class(len(numbers)):
        return None, (), (f"labels are not used: {largest} is no class number ({pattern})",)
    listed = files[0].columns.class_names
    return numbers, listed + tuple(map(str, range(len(listed), largest + 1))), ()


def _note_of_cost(pattern: str, table: np.ndarray) -> tuple[str, ...]:
    """One line where an image costs far more than itself, which no order changes."""
    decoded, wanted = int(table[:, UNPACKED].sum()), int(table[:, LENGTH].sum())
    if decoded < _COSTLY * wanted:
        return ()
    codecs = sorted({CODECS[codec] for codec in np.unique(table[:, CODEC]).tolist()} - {""})
    mean = decoded / len(table) / 1e6
    return (
        f"{pattern}: to read an image, {mean:.1f} MB are decoded, for {', '.join(codecs)} has no access to "
        "parts of a page; python -m pipelines.pack writes shards, with the same views",
    )
