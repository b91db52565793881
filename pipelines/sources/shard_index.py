"""Index of one tar shard, made once and kept in the cache folder.

A shard is a tar as webdataset writes it: members that share a key, which is the path up to the first dot of
the name, are one sample, ``{key}.jpg`` (or jpeg, png, webp, bmp) its image, ``{key}.cls`` or ``{key}.json``
its label. Other members are left alone, and samples without an image too.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipelines.command.errors import UserError
from pipelines.decode.header import IMAGE_EXTENSIONS, UndecodableImageError, image_size_at
from pipelines.sources.cache import cache_file, load_arrays, pack_strings, save_arrays, unpack_strings
from pipelines.sources.identity import printable

NO_LABEL = -1
_MOST_CLASSES = 1 << 24
_LABEL_FIELDS = ("label", "cls")  # of a .json member: an integer, or the name of a class
_CLASS_NAME_FIELDS = ("class_name", "class")
_COMPRESSED = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstd"}
_BLOCK = 512  # bytes, of a tar


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardIndex:
    """The N samples of a shard, in its order."""

    table: np.ndarray
    """int64 [N, 5]: offset and length of the encoded image in bytes, its upright height and width in pixels
    (0: unreadable header), and the label (-1: none)."""
    members: list[str]
    """The names of the images in the tar."""
    class_names: list[str]
    """The name of each sample's class as its .json has it, "" where there is none."""


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """The index of a shard: from the cache if it was made of a file of this size and time of change.

    Raises:
        UserError: no whole, uncompressed tar, or one with a label that is none.
    """
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            state = np.array([stat.st_size, stat.st_mtime_ns], np.int64)
            kept = cache_file(cache, "shard", path)
            stored = load_arrays(kept, ("state", "table", "members", "class_names"))
            if stored is None or not np.array_equal(stored["state"], state):
                stored = {"state": state, **_read_shard(path, file)}
                save_arrays(kept, stored)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return ShardIndex(
        table=stored["table"],
        members=unpack_strings(stored["members"]),
        class_names=unpack_strings(stored["class_names"]),
    )


@dataclass
class _Sample:
    """Members of a sample seen so far."""

    images: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # by extension: name, place
    label: int = NO_LABEL
    class_name: str = ""


def _read_shard(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    samples: dict[str, _Sample] = {}
    for member in _members(path, file):
        name = member.name.removeprefix("./")
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem or not member.isreg():  # folders, links, hidden files
            continue
        sample = samples.setdefault(f"{folder}{slash}{stem}", _Sample())
        extension = f".{extension.lower()}"
        if extension in IMAGE_EXTENSIONS:
            if extension in sample.images:
                raise UserError(f"{path} holds {printable(name)} twice: write the shard again")
            sample.images[extension] = (name, _place(file.fileno(), member.offset_data, member.size))
        elif extension in (".cls", ".json"):
            content = os.pread(file.fileno(), member.size, member.offset_data)
            _read_label(sample, extension, content, f"{path}:{printable(name)}")
    rows, names, class_names = [], [], []
    for sample in samples.values():
        if sample.images:
            extension = min(sample.images, key=IMAGE_EXTENSIONS.index)  # a .png beside a .jpg is its mask
            name, place = sample.images[extension]
            rows.append((*place, sample.label))
            names.append(name)
            class_names.append(sample.class_name)
    return {
        "table": np.array(rows, np.int64).reshape(-1, 5),
        "members": pack_strings(names),
        "class_names": pack_strings(class_names),
    }


def _members(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The members of a tar that is whole: read to its end, which is a block of zeros."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                yield member
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all, 1 kB each
            if os.pread(file.fileno(), _BLOCK, tar.offset) != bytes(_BLOCK):
                raise tarfile.ReadError(f"it breaks off at byte {tar.offset}")
    except tarfile.TarError as error:
        kind = _COMPRESSED.get(os.pread(file.fileno(), 3, 0))
        if kind is not None:
            raise UserError(
                f"{path} is compressed ({kind}), so it allows no random access: unpack it"
            ) from None
        raise UserError(f"{path} is no whole tar file ({error}): copy or write it again") from None


def _read_label(sample: _Sample, extension: str, content: bytes, where: str) -> None:
    """Take the label of a ``.cls`` (an integer in ASCII) or ``.json`` (an object) member."""
    try:
        if extension == ".cls":
            sample.label = _checked(int(content))
            return
        fields = json.loads(content)
        if not isinstance(fields, dict):
            return  # a caption, a list of boxes: some other thing
        for name in (*_LABEL_FIELDS, *_CLASS_NAME_FIELDS):
            value = fields.get(name)
            if isinstance(value, str):
                sample.class_name = sample.class_name or printable(value).replace("\0", "")
            elif isinstance(value, int) and name in _LABEL_FIELDS and sample.label == NO_LABEL:
                sample.label = _checked(value)
    except ValueError:
        raise UserError(f"{where} holds no label: .cls takes a class number, .json an object") from None


def _checked(label: int) -> int:
    if label >= _MOST_CLASSES:
        raise ValueError
    return max(label, NO_LABEL)  # any negative number means: none


def _place(descriptor: int, offset: int, length: int) -> tuple[int, int, int, int]:
    """Offset, length, and the upright height and width, 0 where the header is unreadable."""
    try:
        return offset, length, *image_size_at(descriptor, offset, length)
    except UndecodableImageError:
        return offset, length, 0, 0
