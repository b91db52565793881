"""Shards and their indices, written to an object storage."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.places import refuse_secrets
from pipelines.command.progress import show_progress
from pipelines.files.patience import open_regular
from pipelines.sources.remote.fetch import with_backoff
from pipelines.sources.remote.kept_index import BESIDE, index_beside
from pipelines.sources.remote.storage import Storage, storage_of
from pipelines.sources.shard_index import read_shard
from pipelines.sources.slices import OpenFile


def address_of(dst: Path) -> str | None:
    """The address that a path was made of, which took one of its slashes; None where it is a path.

    Raises:
        UserError: the web, which cannot be written to, or an address with a password.
    """
    found = re.fullmatch(r"(s3|gs|https?):/+(.+)", str(dst))
    if found is None:
        return None
    url = f"{found[1]}://{found[2]}"
    refuse_secrets(url)
    if found[1] not in ("s3", "gs"):
        raise UserError(f"cannot write to {url}: give a folder, or an address with s3:// or gs://")
    return url


def empty_storage(url: str) -> Storage:
    """The storage of an address below which there are no shards.

    Raises:
        UserError: there are some, or it does not answer.
    """
    storage = storage_of(url)
    try:
        found = with_backoff(lambda: storage.glob(f"{url}/*.tar"), url)
    except FileNotFoundError:
        found = []
    if found:
        raise UserError(f"{url} holds shards already ({found[0].name}): remove them or choose another name")
    return storage


def upload_shards(folder: Path, storage: Storage, url: str) -> None:
    """Write the shards of a folder below an address, and behind each its index, which a reader then uses.

    Raises:
        UserError: the storage refuses, or does not answer; what is there by then stays.
    """
    paths = sorted(folder.glob("*.tar"))
    with tempfile.TemporaryDirectory() as aside:
        for path in show_progress(paths, len(paths), "Uploading shards"):
            shard = OpenFile(open_regular(path))
            index = Path(aside) / f"{path.name}{BESIDE}"
            arrays = index_beside(read_shard(path, shard.descriptor), path.stat().st_size)
            with index.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            for each in (path, index):
                _write(storage, each, f"{url}/{each.name}")


def _write(storage: Storage, path: Path, url: str) -> None:
    try:
        with_backoff(lambda: storage.write(path, url), url, "write")
    except FileNotFoundError:
        raise UserError(f"cannot write {url}: there is no such bucket") from None
