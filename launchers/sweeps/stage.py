"""Data copied to a node's own disk or memory, once per node, however many jobs run there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.places import is_elsewhere, map_places, on_disk, places


def staged(data: str, stage: str) -> str:
    """Copy data into a folder of this node, unless it is there already.

    The copy of DATA is STAGE/DIGEST/NAME, DIGEST of its path and of its files' names, sizes and times of
    change, so that changed data is copied anew; a file beside it says that it is whole. Jobs that start
    together wait for the one that copies. Nothing is deleted: a job's own $TMPDIR goes with the job, /dev/shm
    with the node.

    Args:
        data: as --data of the training.
        stage: the folder, $VARIABLES of the node's environment in it; "" copies nothing.

    Returns:
        what to give as --data instead.

    Raises:
        UserError: the folder cannot be written, or there is no data.
    """
    if len(places(data)) > 1:
        return map_places(data, lambda place: staged(place, stage))
    if not stage or is_elsewhere(data):  # is made, or fetched, on the node itself
        return data
    data, part = on_disk(data)
    where = os.path.expandvars(stage)
    if "$" in where:
        raise UserError(f"--stage {stage}: this node does not set that variable; give another folder")
    source = Path(data).expanduser().absolute()
    try:
        target = Path(where) / _digest(source)
        target.mkdir(parents=True, exist_ok=True)
        with (target / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / "complete").exists():
                print(f"copying {source} to {target}", file=sys.stderr, flush=True)
                _copy(source, target)
                (target / "complete").touch()
    except OSError as error:
        raise UserError(f"cannot copy {data} to {where}: {error.strerror or error}; see --stage") from None
    return f"{target / source.name}{part}"


def _digest(source: Path) -> str:
    """Digest of a path and of the files it names."""
    digest = hashlib.blake2b(str(source).encode(errors="surrogateescape"), digest_size=6)
    for path in sorted(_files(source)):
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(source: Path) -> list[Path]:
    """The files of a folder, a file, or the files of a pattern."""
    if source.is_dir():
        return [Path(folder, name) for folder, _, names in os.walk(source) for name in names]
    if set(str(source.parent)) & set("*?{["):
        raise UserError(f"--stage copies files of one folder: {source} names several; give one folder")
    from pipelines.sources.patterns import expand  # loads numba: only where it is needed

    return [Path(path) for path in expand(str(source), source.suffix)]


def _copy(source: Path, target: Path) -> None:
    """A folder, a file, or the files of a pattern."""
    if source.is_dir():
        shutil.copytree(source, target / source.name, dirs_exist_ok=True)
    else:
        for path in _files(source):
            shutil.copy2(path, target / path.name)
