"""FFCV's ``.beton`` files, JPEG, raw or mixed, read without FFCV.

``WHERE`` is one file, a glob, a range in braces or a folder of them. The splits go by the words "train" and
"val" (or else "test") in the names; beside a single ``train.beton`` a ``val.beton`` or ``test.beton`` is
looked for. Without the word "train" all is the "train" split.

- The image is the field ``image``, or the only one of images. Images are upright, as FFCV has them.
- The label is the int field ``label``, or the only int field but ``sample_id``. One with a value that is no
  class number (negative, or far more than there are images) is taken for none.
- The names of the classes are those that ``pipelines.pack`` left in the file, otherwise their numbers.
- The sample's id is the int field ``sample_id``, which ``pipelines.pack`` writes, and otherwise made of the
  key ``row-00000017`` (counted from 0, through each file).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.sources.beton.format import LABEL, SAMPLE_ID, BetonTable, read_table
from pipelines.sources.identity import largest_class, printable, sample_ids
from pipelines.sources.image_files import holds_images
from pipelines.sources.notes import LeftOut
from pipelines.sources.patterns import expand, files_of_split, is_named
from pipelines.sources.slices import FileSlices
from pipelines.sources.source import Index
from pipelines.sources.splits import Split, test_names

ABOUT = "a .beton"
_SUFFIXES = (".beton", ".ffcv")  # FFCV's own ImageNet scripts name them so


def takes(where: str) -> bool:
    """True if .beton files are meant, or a folder of them that holds no images."""
    path = user_path(where)
    if path.is_dir():
        return any(path.glob("*.beton")) and not any(path.glob("*.tar")) and not holds_images(path)
    return path.suffix in _SUFFIXES and (path.exists() or bool(set(where) & set("*?{")))


def open_split(where: str, split: Split, cache: Path) -> BetonSource:
    """See ``open_beton``."""
    return open_beton(str(user_path(where)), split)


class BetonSource(FileSlices):
    """Images in ``.beton`` files (a ``Source``)."""

    paths: Sequence[Path]

    def __init__(self, index: Index, paths: Sequence[Path], tables: Sequence[BetonTable]) -> None:
        self.index = index
        self.raw = np.concatenate([table.raw for table in tables])  # bool [N]: stored as pixels
        offsets = np.concatenate([table.offsets for table in tables])
        lengths = np.concatenate([table.lengths for table in tables])
        super().__init__(paths, [len(table.raw) for table in tables], offsets, lengths)
        self._has_keys = not _hold_ids(tables)

    def read(self, index: int) -> bytes | np.ndarray:
        """The bytes of a JPEG, or the pixels, uint8 [H, W, 3], read-only."""
        data = self.stored(index)
        if not self.raw[index]:
            return data
        height, width = int(self.index.heights[index]), int(self.index.widths[index])
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def key(self, index: int) -> str | None:
        """The key that a sample's id is made of; None where the files hold the ids themselves."""
        return _key(self.place(index)[1]) if self._has_keys else None

    def describe(self, index: int) -> str:
        """``path/of/file.beton:row-00000017``."""
        file, row = self.place(index)
        return f"{printable(str(self.paths[file]))}:{_key(row)}"


def open_beton(pattern: str, split: Split) -> BetonSource:
    """Open one split of a set of ``.beton`` files. Only their tables are read, not the images.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such file, one that cannot be read, or files that name the classes differently.
    """
    paths = expand(pattern, ".beton")
    if Path(pattern).is_file():
        paths += _test_file_beside(Path(pattern))
    left_out = LeftOut()
    paths = files_of_split(paths, split, pattern, left_out)
    tables = [read_table(path) for path in paths]
    ids = _sample_ids(paths, tables)
    labels, class_names = _labels(pattern, tables)
    sizes = [np.concatenate([getattr(table, name) for table in tables]) for name in ("heights", "widths")]
    index = Index(
        sample_ids=ids,
        heights=sizes[0],
        widths=sizes[1],
        labels=labels,
        class_names=class_names,
        fingerprint=_fingerprint(ids, labels, tables),
        notes=left_out.note(pattern),
    )
    return BetonSource(index, paths, tables)


def _test_file_beside(path: Path) -> list[Path]:
    """Beside ``train.beton``: ``val.beton``, or else ``test.beton``; beside ``train_500.beton``: ..."""
    if not is_named(path, "train"):
        return []
    return [beside for name in test_names(path.name) if (beside := path.with_name(name)).is_file()][:1]


def _key(row: int) -> str:
    return f"row-{row:08d}"


def _hold_ids(tables: Sequence[BetonTable]) -> bool:
    columns = [table.numbers.get(SAMPLE_ID) for table in tables]
    return all(column is not None and column.dtype == np.int64 for column in columns)


def _sample_ids(paths: Sequence[Path], tables: Sequence[BetonTable]) -> np.ndarray:
    if _hold_ids(tables):
        return np.concatenate([table.numbers[SAMPLE_ID] for table in tables])
    keys = [_key(row) for table in tables for row in range(len(table.raw))]
    full_names = [
        f"{path.name}:{_key(row)}"
        for path, table in zip(paths, tables, strict=True)
        for row in range(len(table.raw))
    ]
    return sample_ids(keys, full_names)


def _labels(pattern: str, tables: Sequence[BetonTable]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (int64 [N] or None) and class names."""
    found = [_label_field(table) for table in tables]
    columns = [column for column in found if column is not None]
    if len(columns) < len(tables):
        return None, ()
    labels = np.concatenate(columns)
    if labels.min() < 0 or labels.max() >= largest_class(len(labels)):
        return None, ()
    names = {table.class_names for table in tables}
    if len(names) > 1:
        raise UserError(f"the files of {pattern} name their classes differently: give them one by one")
    listed = names.pop() or ()
    return labels, listed + tuple(map(str, range(len(listed), int(labels.max()) + 1)))


def _label_field(table: BetonTable) -> np.ndarray | None:
    whole = {name: n for name, n in table.numbers.items() if n.dtype == np.int64 and name != SAMPLE_ID}
    if LABEL in whole:
        return whole[LABEL]
    return next(iter(whole.values())) if len(whole) == 1 else None


def _fingerprint(ids: np.ndarray, labels: np.ndarray | None, tables: Sequence[BetonTable]) -> str:
    digest = hashlib.blake2b(ids.tobytes(), digest_size=16)
    for table in tables:
        digest.update(table.lengths.tobytes())
    if labels is not None:
        digest.update(labels.tobytes())
    return digest.hexdigest()
