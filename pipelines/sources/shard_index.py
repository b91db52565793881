"""Index of one tar shard, made once and kept in the cache folder.

A shard is a tar as webdataset writes it: members that share a key, which is the path up to the first dot of
the name, are one sample. Its image is ``{key}.jpg`` (or jpeg, png, webp, bmp), ``{key}.image.jpg`` or
``{key}.input.jpg``; its label ``{key}.cls``, ``{key}.output.cls`` or ``{key}.json``. Members that look like
images and are not used are counted.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.decode.header import (
    FOREIGN_EXTENSIONS,
    IMAGE_EXTENSIONS,
    UndecodableImageError,
    image_size_at,
)
from pipelines.files.patience import open_regular, read_at, with_patience
from pipelines.sources.cache import cache_file, load_arrays, pack_strings, save_arrays, unpack_strings
from pipelines.sources.identity import printable
from pipelines.sources.notes import LeftOut
from pipelines.sources.service_files import lies_in_service
from pipelines.sources.slices import FileName
from pipelines.sources.tar_members import BrokenTarError, Member, tar_members

NO_LABEL = -1
_LABEL_FIELDS = ("label", "cls")  # of a .json member: an integer, or the name of a class
_CLASS_NAME_FIELDS = ("class_name", "class")
_IMAGE_PARTS = ("", "image", "input", "img")  # between key and extension
_LABEL_PARTS = ("", "output", "label", "target")
_LARGEST_LABEL = 1 << 24  # bytes
_COMPRESSED = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstd"}
_COLUMNS = 5
STORED = ("table", "members", "class_names", "reasons", "examples", "counts")


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardIndex:
    """The N samples of a shard, in its order."""

    table: np.ndarray
    """int64 [N, 5]: offset and length of the encoded image in bytes, its upright height and width in pixels
    (0: unreadable header), and the label (-1: none)."""
    members: list[str]
    """The names of the images in the tar."""
    class_names: list[str]
    """Name of each sample's class where it is told by name, "" where it is not."""
    left_out: LeftOut
    """Images that are not used."""


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """The index of a shard: from the cache if it was made of a file of this size and these times of change.

    Raises:
        UserError: it cannot be read, or is no whole, uncompressed tar.
    """
    try:
        return shard_index_of(with_patience(lambda: _load_or_read(path, cache)))
    except OSError as error:
        raise UserError(f"cannot read {printable(str(path))}: {error.strerror}") from None


def shard_index_of(stored: dict[str, np.ndarray]) -> ShardIndex:
    """The index that arrays of ``read_shard`` stand for."""
    return ShardIndex(
        table=stored["table"],
        members=unpack_strings(stored["members"]),
        class_names=unpack_strings(stored["class_names"]),
        left_out=LeftOut.of_arrays(stored),
    )


def _load_or_read(path: Path, cache: Path) -> dict[str, np.ndarray]:
    descriptor = open_regular(path)
    try:
        about = os.fstat(descriptor)
        state = np.array([about.st_size, about.st_mtime_ns, about.st_ctime_ns], np.int64)
        kept = cache_file(cache, "shard", path)
        stored = load_arrays(kept, ("state", *STORED))
        if stored is None or not np.array_equal(stored["state"], state) or not is_shard_index(stored):
            stored = {"state": state, **read_shard(path, descriptor)}
            save_arrays(kept, stored)
        return stored
    finally:
        os.close(descriptor)


def is_shard_index(stored: dict[str, np.ndarray]) -> bool:
    """True if the arrays of a cache file fit together: others may write to a shared folder."""
    table, counts = stored["table"], stored["counts"]
    if table.ndim != 2 or table.shape[1] != _COLUMNS or {table.dtype, counts.dtype} != {np.dtype(np.int64)}:
        return False
    texts = [stored[name] for name in ("members", "class_names", "reasons", "examples")]
    if any(text.dtype != np.uint8 or text.ndim != 1 for text in texts) or counts.ndim != 1:
        return False
    rows = [len(table), len(table), len(counts), len(counts)]
    return [int((text == 0).sum()) for text in texts] == rows and bool((table[:, :4] >= 0).all())


@dataclass
class _Sample:
    """Members of a sample seen so far."""

    images: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """By extension: name and position."""
    label: int = NO_LABEL
    class_name: str = ""


def read_shard(path: FileName, descriptor: int) -> dict[str, np.ndarray]:
    """The arrays of a shard's index, by the names of ``STORED``.

    Raises:
        UserError: it is no whole, uncompressed tar.
        OSError: it cannot be read.
    """
    samples: dict[str, _Sample] = {}
    left_out = LeftOut()
    try:
        for member in tar_members(descriptor):
            if member.kind == "behind the end":
                left_out.add("bytes behind the end of the tar", path.name, member.length)
            elif not lies_in_service(member.name):
                _take(path, descriptor, member, samples, left_out)
    except BrokenTarError as error:
        kind = _COMPRESSED.get(os.pread(descriptor, 3, 0))
        shown = printable(str(path))
        if kind is not None:
            raise UserError(
                f"{shown} is compressed ({kind}), so it allows no random access: unpack it"
            ) from None
        raise UserError(f"{shown} is no whole tar file ({error}): copy or write it again") from None
    rows, names, class_names = [], [], []
    for sample in samples.values():
        if sample.images:
            ranked = sorted(sample.images, key=IMAGE_EXTENSIONS.index)  # a .png beside a .jpg is its mask
            for extension in ranked[1:]:
                left_out.add("further images of a sample", _shown(path, sample.images[extension][0]))
            name, position = sample.images[ranked[0]]
            rows.append((*position, sample.label))
            names.append(name)
            class_names.append(sample.class_name)
    return {
        "table": np.array(rows, np.int64).reshape(-1, _COLUMNS),
        "members": pack_strings(names),
        "class_names": pack_strings(class_names),
        **left_out.arrays(),
    }


def _take(
    path: FileName, descriptor: int, member: Member, samples: dict[str, _Sample], left_out: LeftOut
) -> None:
    """Take a member into its sample, or count it."""
    name = member.name.removeprefix("./")
    folder, slash, base = name.rpartition("/")
    stem, _, parts = base.partition(".")
    part, _, last = parts.lower().rpartition(".")
    extension = f".{last}"
    is_image = extension in IMAGE_EXTENSIONS
    if not stem or not (is_image or extension in (*FOREIGN_EXTENSIONS, ".cls", ".json")):
        return
    if member.kind != "file":
        kinds = {"link": "links to images", "sparse": "sparse images"}
        if is_image and member.kind in kinds:
            left_out.add(kinds[member.kind], _shown(path, name))
        return
    if extension in FOREIGN_EXTENSIONS:
        left_out.add(f"{extension} images", _shown(path, name))
    elif is_image and part not in _IMAGE_PARTS:
        left_out.add("images with a dot in the name (a sample's key ends at the first)", _shown(path, name))
    elif is_image:
        sample = samples.setdefault(f"{folder}{slash}{stem}", _Sample())
        if extension in sample.images:
            if part or "." in os.path.basename(sample.images[extension][0]).partition(".")[2]:
                left_out.add("further images of a sample", _shown(path, name))
                return
            raise UserError(f"{printable(str(path))} holds {_escaped(name)} twice: write the shard again")
        sample.images[extension] = (name, _place(descriptor, member.offset, member.length))
    elif part in _LABEL_PARTS:
        content = read_at(descriptor, member.offset, min(member.length, _LARGEST_LABEL + 1))
        sample = samples.setdefault(f"{folder}{slash}{stem}", _Sample())
        read = _read_cls if extension == ".cls" else _read_json
        try:
            if len(content) > _LARGEST_LABEL:
                raise ValueError
            read(sample, content)
        except (ValueError, RecursionError):
            left_out.add("empty or unreadable labels", _shown(path, name))


def _read_cls(sample: _Sample, content: bytes) -> None:
    """Take an integer in ASCII, or the name of a class."""
    text = content.decode().strip()
    if text.removeprefix("-").isdecimal():
        sample.label = _bounded(int(text))
    elif text and text.isprintable():
        sample.class_name = text
    else:
        raise ValueError


def _read_json(sample: _Sample, content: bytes) -> None:
    fields = json.loads(content)
    if not isinstance(fields, dict):
        return  # a caption, a list of boxes: some other thing
    for name in (*_LABEL_FIELDS, *_CLASS_NAME_FIELDS):
        value = fields.get(name)
        if isinstance(value, str):
            sample.class_name = sample.class_name or printable(value).replace("\0", "")
        elif isinstance(value, int) and name in _LABEL_FIELDS and sample.label == NO_LABEL:
            sample.label = _bounded(value)


def _bounded(label: int) -> int:
    if label >= 1 << 62:
        raise ValueError
    return max(label, NO_LABEL)  # any negative number means: none


def _place(descriptor: int, offset: int, length: int) -> tuple[int, int, int, int]:
    """Offset, length, and the upright height and width, 0 where the header is unreadable."""
    try:
        return offset, length, *image_size_at(descriptor, offset, length)
    except UndecodableImageError:
        return offset, length, 0, 0


def _shown(path: FileName, name: str) -> str:
    return f"{printable(path.name)}:{_escaped(name)}"


def _escaped(name: str) -> str:
    return visible(printable(name))
