"""Indices of remote files: from the cache folder, from beside the shard, or made of the whole file once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.files.atomic import atomic_file
from pipelines.sources.cache import load_arrays, save_arrays
from pipelines.sources.remote.fetch import fetch, with_backoff
from pipelines.sources.remote.shard_cache import ShardCache, digest_of
from pipelines.sources.remote.storage import RemoteFile, Storage
from pipelines.sources.shard_index import STORED, is_shard_index

BESIDE = ".index.npz"  # behind the name of a shard: what ``pack`` writes to a storage
_LARGEST_BESIDE = 1 << 28  # bytes

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class IndexKind:
    """A kind of files that has an index."""

    name: str
    """Part of the index's name in the cache folder; with whatever else decides its contents."""
    arrays: Sequence[str]
    """Names of the arrays."""
    is_index: Callable[[Arrays], bool]
    """True if arrays fit together."""
    read: Callable[[RemoteFile, int], Arrays]
    """Makes the arrays of the file and a descriptor of its contents."""
    beside: bool
    """True if an index may lie beside the file."""


def kept_index(
    file: RemoteFile, kind: IndexKind, storage: Storage, cache: Path, shards: ShardCache
) -> Arrays:
    """The arrays of a file's index.

    Raises:
        UserError: the file cannot be fetched, or is none of its kind.
    """
    name = hashlib.blake2b(f"{kind.name}\0{digest_of(file)}".encode(), digest_size=10).hexdigest()
    kept = cache / f"remote-{name}.npz"
    stored = load_arrays(kept, kind.arrays)
    if stored is not None and kind.is_index(stored):
        return stored
    if kind.beside and (found := _from_beside(file, storage, kept)) is not None:
        return found
    shard = shards.open(file, lambda out: fetch(storage, file, out), hold=True)
    made = kind.read(file, shard.descriptor)
    shard.let_go()
    save_arrays(kept, made)
    return made


def index_beside(arrays: Arrays, size: int) -> Arrays:
    """The arrays to be written beside a shard of ``size`` bytes, as ``numpy.savez`` does."""
    return {**{name: arrays[name] for name in STORED}, "size": np.array([size], np.int64)}


def _from_beside(file: RemoteFile, storage: Storage, kept: Path) -> Arrays | None:
    """The index beside a shard, copied to ``kept``; None where there is none that is of this shard."""
    url = f"{file.url}{BESIDE}"
    try:
        about = with_backoff(lambda: storage.stat(url), url)
    except (FileNotFoundError, UserError):  # some storages forbid to ask for what is not there
        return None
    if about.size > _LARGEST_BESIDE or about.modified < file.modified:
        return None
    try:
        with atomic_file(kept) as out:
            fetch(storage, about, out)
    except OSError:
        return None  # the cache cannot be written, as will be said
    stored = load_arrays(kept, (*STORED, "size"))
    if stored is not None and is_shard_index(stored) and _is_of(stored, file.size):
        return stored
    kept.unlink(missing_ok=True)
    return None


def _is_of(stored: Arrays, size: int) -> bool:
    ends = stored["table"][:, 0] + stored["table"][:, 1]
    return stored["size"].tolist() == [size] and bool((ends <= size).all())
