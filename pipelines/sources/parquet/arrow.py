"""What pyarrow reads of a Parquet file: its schema, its small columns, and the codecs of its pages.

This is the one file that imports pyarrow, when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.sources.parquet.pages import BrokenParquetError, Chunk

_CODECS = {"UNCOMPRESSED": "", "LZ4": "lz4_raw"}  # Parquet's names that are not pyarrow's


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A column of values: ``label``, or ``image.bytes`` of a struct."""

    is_bytes: bool
    """True for bytes, False for text, numbers and other things."""
    is_text: bool
    is_list: bool
    """True if a row may hold several."""
    chunks: tuple[Chunk, ...]
    """Its parts, one per row group."""


class ArrowFile:
    """The metadata of a Parquet file, and its small columns.

    Args:
        descriptor: of the file; it stays open.

    Raises:
        BrokenParquetError: no whole Parquet file.
        UserError: pyarrow is not installed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        with open(descriptor, "rb", closefd=False) as file, _one_kind_of_error():
            opened = _pyarrow().parquet.ParquetFile(file)
            self._metadata, schema = opened.metadata, opened.schema_arrow
            self.columns: tuple[str, ...] = tuple(schema.names)
            self.features = _features(schema.metadata or {})
            self.leaves = dict(self._leaf(index) for index in range(len(opened.schema.names)))

    def values(self, leaf: str) -> list[Any]:
        """The values of a small column: Python's own, None for null; of a struct's field too."""
        with open(self._descriptor, "rb", closefd=False) as file, _one_kind_of_error():
            opened = _pyarrow().parquet.ParquetFile(file, metadata=self._metadata)
            rows: list[Any] = opened.read([leaf], use_threads=False).column(0).to_pylist()
        for name in leaf.split(".")[1:]:
            rows = [None if row is None else row[name] for row in rows]
        return rows

    def _leaf(self, index: int) -> tuple[str, Leaf]:
        metadata, about = self._metadata, self._metadata.schema.column(index)
        is_bytes = about.physical_type == "BYTE_ARRAY"
        is_text = is_bytes and about.logical_type.type != "NONE"
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        parts = [(group.column(index), group.num_rows) for group in groups]
        leaf = Leaf(
            is_bytes=is_bytes and not is_text,
            is_text=is_text,
            is_list=about.max_repetition_level > 0,
            chunks=tuple(
                Chunk(
                    begin=min(part.data_page_offset, part.dictionary_page_offset or part.data_page_offset),
                    length=part.total_compressed_size,
                    codec=_CODECS.get(part.compression, part.compression.lower()),
                    rows=count,
                    max_definition=about.max_definition_level,
                )
                for part, count in parts
            ),
        )
        return about.path, leaf


def decompress(data: bytes, codec: str, size: int) -> bytes:
    """See ``pages.Decompress``."""
    content: bytes = _pyarrow().decompress(data, size, codec, asbytes=True)
    return content


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet files need pyarrow: pip install -e '.[parquet]' in the clone") from None
    return pyarrow


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    """Inside, what pyarrow raises for a damaged file becomes a ``BrokenParquetError``."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise BrokenParquetError(visible(reason)) from None


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The types of the columns as ``datasets`` wrote them; none where it did not, or wrote something else."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: about for name, about in features.items() if isinstance(about, dict)}
