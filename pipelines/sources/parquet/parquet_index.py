"""Index of one Parquet file, made once and kept in the cache folder: where its images lie, their labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command.errors import UserError
from pipelines.files.patience import open_regular, read_at, with_patience
from pipelines.keys import stable_id
from pipelines.sources.cache import cache_file, load_arrays, pack_strings, save_arrays, unpack_strings
from pipelines.sources.identity import printable
from pipelines.sources.parquet.arrow import ArrowFile, decompress
from pipelines.sources.parquet.columns import Asked, Columns, choose_columns
from pipelines.sources.parquet.pages import CODECS, COLUMNS, BrokenParquetError, find_images
from pipelines.sources.slices import FileName

NO_LABEL = -1
STORED = ("table", "rows", "labels", "nulls", "paths", "label_names", "columns", "class_names")
_VERSION = 1  # of these arrays
_LFS = b"version https://git-lfs"  # what a clone without Git LFS has in place of the file


@dataclass(frozen=True, kw_only=True, eq=False)
class ParquetIndex:
    """The N images of a file, in its order."""

    table: np.ndarray
    """int64 [N, pages.COLUMNS]: where they lie, and their sizes."""
    rows: np.ndarray
    """int64 [N], from 0: the rows of the file that have an image."""
    labels: np.ndarray
    """int64 [N], class numbers; -1: none."""
    nulls: int
    """Rows without an image."""
    paths: list[str]
    """Names of the images, "" where there is none."""
    label_names: list[str]
    """Name of each image's class where the column holds text, "" where it does not."""
    columns: Columns


def index_file(path: Path, asked: Asked, cache: Path) -> ParquetIndex:
    """The index of a file: from the cache if it was made of a file of this size and these times of change.

    Raises:
        UserError: it cannot be read, is no whole Parquet file, or has no images.
    """
    shown = printable(str(path))
    try:
        stored = with_patience(lambda: _load_or_read(path, asked, cache))
    except OSError as error:
        raise UserError(f"cannot read {shown}: {error.strerror or error}") from None
    except BrokenParquetError as error:
        raise UserError(f"{shown} is no whole Parquet file ({error}): copy or write it again") from None
    return parquet_index_of(stored)


def parquet_index_of(stored: dict[str, np.ndarray]) -> ParquetIndex:
    """The index that arrays of ``read_file`` stand for."""
    image, own_path, label, note = unpack_strings(stored["columns"])
    return ParquetIndex(
        table=stored["table"],
        rows=stored["rows"],
        labels=stored["labels"],
        nulls=int(stored["nulls"][0]),
        paths=unpack_strings(stored["paths"]),
        label_names=unpack_strings(stored["label_names"]),
        columns=Columns(image, own_path, label, tuple(unpack_strings(stored["class_names"])), note),
    )


def _load_or_read(path: Path, asked: Asked, cache: Path) -> dict[str, np.ndarray]:
    descriptor = open_regular(path)
    try:
        about = os.fstat(descriptor)
        marks = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, stable_id("\0".join(asked)), _VERSION)
        state, kept = np.array(marks, np.int64), cache_file(cache, "parquet", path)
        stored = load_arrays(kept, ("state", *STORED))
        if stored is None or not np.array_equal(stored["state"], state) or not is_parquet_index(stored):
            stored = {"state": state, **read_file(path, descriptor, asked)}
            save_arrays(kept, stored)
        return stored
    finally:
        os.close(descriptor)


def is_parquet_index(stored: dict[str, np.ndarray]) -> bool:
    """True if the arrays of a cache file fit together: others may write to a shared folder."""
    count, table = len(np.atleast_1d(stored["rows"])), stored["table"]
    shapes = {"table": (count, COLUMNS), "rows": (count,), "labels": (count,), "nulls": (1,)}
    if any(stored[name].shape != shape or stored[name].dtype != np.int64 for name, shape in shapes.items()):
        return False
    texts = {"paths": count, "label_names": count, "columns": 4, "class_names": None}
    for name, expected in texts.items():
        text = stored[name]
        if text.dtype != np.uint8 or text.ndim != 1 or expected not in (None, int((text == 0).sum())):
            return False
    codecs = table[:, 2]
    return bool((table >= 0).all() and (codecs < len(CODECS)).all() and (stored["labels"] >= NO_LABEL).all())


def read_file(path: FileName, descriptor: int, asked: Asked) -> dict[str, np.ndarray]:
    """The arrays of a file's index, by the names of ``STORED``.

    Raises:
        UserError: it has no images, or other columns.
        BrokenParquetError: it is damaged.
        OSError: it cannot be read.
    """
    shown = printable(str(path))
    if read_at(descriptor, 0, len(_LFS)) == _LFS:
        raise UserError(f"{shown} is a pointer of Git LFS: run git lfs pull there")
    file = ArrowFile(descriptor)
    columns = choose_columns(file, asked, shown)
    leaf = file.leaves[columns.image]
    unknown = {chunk.codec for chunk in leaf.chunks} - set(CODECS)
    if unknown:
        raise UserError(
            f"{shown} is compressed by {', '.join(unknown)}, which is not read: write it with snappy"
        )
    found = [find_images(descriptor, chunk, decompress) for chunk in leaf.chunks]
    there = np.concatenate([np.empty(0, bool), *(present for present, _ in found)])
    rows = np.flatnonzero(there)
    paths = _texts(file.values(columns.path), rows) if columns.path else [""] * len(rows)
    if len(there) and not len(rows):
        names = any(file.values(columns.path)) if columns.path else False
        what = "names or addresses of images, not their bytes: download them" if names else "nulls only"
        raise UserError(f"{shown}: column {columns.image.removesuffix('.bytes')} holds {what}")
    labels, label_names, note = _labels(file, columns, rows)
    return {
        "table": np.concatenate([np.empty((0, COLUMNS), np.int64), *(table for _, table in found)]),
        "rows": rows,
        "labels": labels,
        "nulls": np.array([len(there) - len(rows)]),
        "paths": pack_strings(paths),
        "label_names": pack_strings(label_names),
        "columns": pack_strings([columns.image, columns.path, columns.label, note]),
        "class_names": pack_strings([_text(name) for name in columns.class_names]),
    }


def _labels(file: ArrowFile, columns: Columns, rows: np.ndarray) -> tuple[np.ndarray, list[str], str]:
    """Numbers (int64 [N]) and names of the images' classes, and why there are none, if that needs a word."""
    numbers, names = np.full(len(rows), NO_LABEL, np.int64), [""] * len(rows)
    if not columns.label:
        return numbers, names, columns.note
    values = file.values(columns.label)
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return numbers, _texts(values, rows), ""
    if not kinds <= {int, bool}:
        return numbers, names, f"labels are not used: column {columns.label} holds neither numbers nor text"
    whole = [NO_LABEL if value is None else int(value) for value in values]
    clipped = np.array([max(NO_LABEL, min(value, (1 << 62) - 1)) for value in whole], np.int64)
    return clipped[rows], names, ""


def _texts(values: list[Any], rows: np.ndarray) -> list[str]:
    return [_text(values[row] or "") for row in rows.tolist()]


def _text(value: str) -> str:
    return printable(value).replace("\0", "")
