"""A list of images: a ``.tsv`` with one path per line and, after a tab, its label.

Paths are taken from the list's own folder, or are absolute. Labels may be any text; all lines have one, or
none has. There is no header line; empty lines are skipped. A list whose name holds the word "train" has a
test split where a list stands beside it that has "val" (or else "test") in its place: ``train.tsv`` and
``val.tsv``. A path that is listed twice is two samples. An image below the list's folder has the id that it
has in that folder, however its path is written.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.sources.cache import cache_file
from pipelines.sources.folder import FolderSource
from pipelines.sources.identity import fingerprint, printable, sample_ids, sorted_names
from pipelines.sources.image_files import ImageFiles, gather
from pipelines.sources.image_sizes import image_sizes
from pipelines.sources.listed_files import look_at
from pipelines.sources.source import Index
from pipelines.sources.splits import NoSplitError, Split, test_names

ABOUT = "a .tsv list of images"


def takes(where: str) -> bool:
    """True if a ``.tsv`` is meant."""
    return user_path(where).suffix == ".tsv" and not user_path(where).is_dir()


def open_split(where: str, split: Split, cache: Path) -> FolderSource:
    """Open one split of a list. Sizes are read from the images' headers once, and kept in ``cache``.

    Labels count through the names of the train and the test list together: sorted, as numbers where all are
    whole numbers.

    Raises:
        NoSplitError: asked for "test" where no test list stands beside the list.
        UserError: no such list, a line that does not fit, or an image that is not there: with the line.
    """
    lists: dict[Split, Path] = {"train": user_path(where), **_test_list(user_path(where))}
    if split not in lists:
        raise NoSplitError(f"{where} has no test split: no list named val or test beside one named train")
    tables = {name: _read(path) for name, path in lists.items()}
    paths, labels, _ = tables[split]
    if any((table.labels is None) != (labels is None) for table in tables.values()):
        both = " and ".join(map(str, lists.values()))
        raise UserError(f"{both}: one has labels, and the other none: give both, or take them from both")
    names = sorted_names({label for table in tables.values() for label in table.labels or ()})
    label_of = {name: label for label, name in enumerate(names)}
    root = lists[split].parent
    files = _files(root, tables[split], lists[split])
    heights, widths = image_sizes(root, files, cache_file(cache, "list", lists[split]))
    keys = [os.path.splitext(path)[0] for path in paths]
    index = Index(
        sample_ids=sample_ids(keys, _distinct(paths)),
        heights=heights,
        widths=widths,
        labels=None if labels is None else np.array([label_of[label] for label in labels], np.int64),
        class_names=tuple(map(printable, names)),
        fingerprint=fingerprint(
            [f"{path}\t{label}" for path, label in zip(paths, labels or [""] * len(paths), strict=True)],
            files.bytes,
        ),
    )
    return FolderSource(index, root, paths)


def _test_list(train: Path) -> dict[Split, Path]:
    """The list beside ``train`` that is its test split, if there is one."""
    beside = (train.with_name(name) for name in test_names(train.name))
    return next(({"test": path} for path in beside if path.is_file()), {})


class _Table(NamedTuple):
    paths: list[str]
    """Normalized; below the list's folder where they can be."""
    labels: list[str] | None
    """None where the list has none."""
    lines: list[int]
    """Line of each image, from 1."""


def _read(where: Path) -> _Table:
    try:
        text = where.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"cannot read the list {where}: {error.strerror}") from None
    root, paths, labels, lines = os.path.abspath(where.parent), [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        parts = line.removesuffix("\r").split("\t")
        if parts == [""]:
            continue
        if len(parts) > 2 or not parts[0]:
            raise UserError(f"{where}, line {number}: give PATH, or PATH<tab>LABEL, not {printable(line)!r}")
        paths.append(_below(root, parts[0]))
        lines.append(number)
        labels += [part.strip() for part in parts[1:] if part.strip()]
        if labels and len(labels) < len(paths):
            raise UserError(f"{where}, line {number}: some lines have a label, and others none")
    if not paths:
        raise UserError(f"no images in {where}: a list has one path per line and, after a tab, its label")
    return _Table(paths, labels or None, lines)


def _below(root: str, path: str) -> str:
    """Normalize a path: below ``root`` where it lies there, so that the data may move."""
    path = os.path.normpath(path)
    return os.path.relpath(path, root) if os.path.isabs(path) and path.startswith(root + os.sep) else path


def _files(root: Path, table: _Table, where: Path) -> ImageFiles:
    found = look_at(root, table.paths, f"Looking for the images of {where.name}")
    lost = [(index, reason) for index, reason in enumerate(found) if isinstance(reason, str)]
    if lost:
        index, reason = lost[0]
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        path = printable(os.path.join(root, table.paths[index]))
        raise UserError(
            f"{where}, line {table.lines[index]}: {reason}: {path}{others} (a list has no header line)"
        )
    return gather(table.paths, [row for row in found if not isinstance(row, str)])


def _distinct(paths: Sequence[str]) -> list[str]:
    """Make repeated paths distinct by a number behind them."""
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        seen[path] += 1
        names.append(path if seen[path] == 1 else f"{path}\0{seen[path]}")
    return names
