"""Shards and Parquet files behind ``s3://``, ``gs://`` and ``https://``, with the order of those on a disk.

``WHERE`` is one file, a glob (``s3://bucket/set/*.parquet``), a range in braces
(``https://host/train-{000..146}.tar``), or a folder of shards or Parquet files; the web has no lists, so that
there it is files and ranges. ``WHERE?cache=200GB`` bounds the cache of whole files, which lies in the cache
folder and is shared by the processes of a machine. No credentials pass through here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.places import is_url
from pipelines.command.progress import show_progress, stream_in_threads
from pipelines.sources.notes import LeftOut
from pipelines.sources.parquet.columns import Asked
from pipelines.sources.parquet.pages import BrokenParquetError
from pipelines.sources.parquet.parquet import ParquetSource, parquet_source
from pipelines.sources.parquet.parquet_index import STORED as PARQUET_STORED
from pipelines.sources.parquet.parquet_index import (
    ParquetIndex,
    is_parquet_index,
    parquet_index_of,
    read_file,
)
from pipelines.sources.patterns import expand_braces, files_of_split
from pipelines.sources.remote.address import parse_address
from pipelines.sources.remote.fetch import with_backoff
from pipelines.sources.remote.kept_index import Arrays, IndexKind, kept_index
from pipelines.sources.remote.remote_files import RemoteFiles
from pipelines.sources.remote.shard_cache import ShardCache
from pipelines.sources.remote.storage import RemoteFile, Storage, storage_of
from pipelines.sources.shard_index import STORED, is_shard_index, read_shard, shard_index_of
from pipelines.sources.shards import ShardSource, shard_source
from pipelines.sources.splits import Split

ABOUT = "shards or Parquet files behind s3://, gs:// or https://"
FOLDER = "shards"  # in the cache folder: where whole files are kept
_OF_FOLDERS = ("*.tar", "*.parquet", "data/*.parquet")  # the first that is there
_FILES = re.compile(r".*\.(?:tar|tgz|parquet)(?:\.\w+)?|.*[*?{\[].*")
_INDEXED_AT_A_TIME = 4  # a whole file each
_ASKED_AT_A_TIME = 16

_SHARDS = IndexKind(name="shard", arrays=STORED, is_index=is_shard_index, read=read_shard, beside=True)


def takes(where: str) -> bool:
    """True if an address is named."""
    return is_url(where)


def open_split(where: str, split: Split, cache: Path) -> ShardSource | ParquetSource:
    """Open a split.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such files, the storage refuses or does not answer, or its packages are not installed.
    """
    address = parse_address(where)
    storage = storage_of(address.url)
    shards = ShardCache(cache / FOLDER, address.cache_bytes)
    found = _find(storage, address.url)
    left_out = LeftOut()
    files = files_of_split(found, split, address.url, left_out)
    opened = RemoteFiles(address.url, files, storage, shards)

    def indices(of: Sequence[RemoteFile], kind: IndexKind) -> list[Arrays]:
        made = stream_in_threads(
            lambda file: kept_index(file, kind, storage, cache, shards), of, _INDEXED_AT_A_TIME
        )
        return list(show_progress(made, len(of), "Indexing"))

    if not all(file.name.endswith(".parquet") for file in found):
        return shard_source(
            address.url, files, [*map(shard_index_of, indices(files, _SHARDS))], left_out, opened
        )
    kind = _parquet(address.asked)

    def others() -> list[ParquetIndex]:
        there = files_of_split(found, "test" if split == "train" else "train", address.url, LeftOut())
        return [*map(parquet_index_of, indices(there, kind))]

    own = [*map(parquet_index_of, indices(files, kind))]
    return parquet_source(address.url, files, own, left_out, others, opened)


def _find(storage: Storage, url: str) -> list[RemoteFile]:
    if not _FILES.fullmatch(url.rpartition("/")[2]):
        folder = url.rstrip("/")
        for pattern in _OF_FOLDERS:
            if found := _glob(storage, f"{folder}/{pattern}"):
                return found
        raise UserError(
            f"no .tar or .parquet files in {url}, or no such folder: give files, a glob or a folder"
        )
    parts = [*expand_braces(url)]
    each = stream_in_threads(lambda part: _part(storage, part), parts, min(_ASKED_AT_A_TIME, len(parts)))
    return [file for files in show_progress(each, len(parts), "Finding files") for file in files]


def _part(storage: Storage, url: str) -> list[RemoteFile]:
    if set(url) & set("*?["):
        if found := _glob(storage, url):
            return found
        raise UserError(f"no file matches {url}")
    try:
        return [with_backoff(lambda: storage.stat(url), url)]
    except FileNotFoundError:
        raise UserError(f"no such file: {url}") from None


def _glob(storage: Storage, url: str) -> list[RemoteFile]:
    try:
        return with_backoff(lambda: storage.glob(url), url)
    except FileNotFoundError:
        return []


def _parquet(asked: Asked) -> IndexKind:
    def read(file: RemoteFile, descriptor: int) -> Arrays:
        try:
            return read_file(file, descriptor, asked)
        except BrokenParquetError as error:
            raise UserError(f"{file} is no whole Parquet file ({error}): copy or write it again") from None

    name = "\0".join(("parquet", *asked))
    return IndexKind(name=name, arrays=PARQUET_STORED, is_index=is_parquet_index, read=read, beside=False)
