"""Tar shards, as webdataset writes them, with random access: nothing is unpacked.

``WHERE`` is a glob (``data/train-*.tar``), a range in braces (``data/train-{000..146}.tar``), one tar or a
folder of tars. Where the names of some hold the word "train", these are the "train" split and those with
"val" (or else "test") the "test" split; otherwise all shards are the "train" split.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.files.atomic import atomic_file
from pipelines.sources.identity import fingerprint, largest_class, printable, sample_ids
from pipelines.sources.image_files import holds_images
from pipelines.sources.notes import LeftOut
from pipelines.sources.patterns import expand, files_of_split
from pipelines.sources.shard_index import NO_LABEL, ShardIndex, index_shard
from pipelines.sources.slices import FileName, Files, FileSlices
from pipelines.sources.source import Index
from pipelines.sources.splits import Split

ABOUT = ".tar shards (a glob, or a range in braces)"


def takes(where: str) -> bool:
    """True if tars are meant, or a folder of tars that holds no images, or a pattern of any kind."""
    path = user_path(where)
    if path.is_dir():
        return any(path.glob("*.tar")) and not holds_images(path)
    return ".tar" in path.suffixes or path.suffix == ".tgz" or bool(set(where) & set("*?{"))


class ShardSource(FileSlices):
    """Images in tar files (a ``Source``)."""

    def __init__(
        self,
        index: Index,
        paths: Sequence[FileName],
        shards: Sequence[ShardIndex],
        files: Files | None = None,
    ) -> None:
        self.index = index
        self._members = [shard.members for shard in shards]
        table = np.concatenate([shard.table for shard in shards])
        counts = list(map(len, self._members))
        super().__init__(paths, counts, table[:, 0], table[:, 1], files)

    def read(self, index: int) -> bytes:
        """The encoded bytes of a sample."""
        return self.stored(index)

    def key(self, index: int) -> str:
        """The key of a sample, which its id is made of."""
        return key_of(self._member(index)[1])

    def describe(self, index: int) -> str:
        """``path/of/shard.tar:member``."""
        path, member = self._member(index)
        return f"{path}:{visible(printable(member))}"

    def _member(self, index: int) -> tuple[FileName, str]:
        shard, position = self.place(index)
        return self.paths[shard], self._members[shard][position]


def open_split(where: str, split: Split, cache: Path) -> ShardSource:
    """Open one split of a set of tar shards.

    Each shard is read through once, for the position, size and label of its samples; these are kept in
    ``cache`` by path, file size and times of change. Labels are those of ``.cls`` or the integers of
    ``.json``; where there are names only, they count through the sorted names. Where some samples lack a
    label, none is used, and a note of the index says so.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: no such shards, one that is no whole and uncompressed tar, or no images in them.
    """
    left_out, pattern = LeftOut(), str(user_path(where))
    paths = files_of_split(expand(pattern, ".tar"), split, pattern, left_out)
    shards = map_in_threads(lambda path: index_shard(path, cache), paths, "Indexing shards")
    return shard_source(pattern, paths, shards, left_out)


def shard_source(
    pattern: str,
    paths: Sequence[FileName],
    shards: Sequence[ShardIndex],
    left_out: LeftOut,
    files: Files | None = None,
) -> ShardSource:
    """The source of a split's shards.

    Raises:
        UserError: no images in them.
    """
    members = [member for shard in shards for member in shard.members]
    for shard in shards:
        left_out.merge(shard.left_out)
    if not members:
        unused = "; ".join(("", *left_out.note(pattern)))
        raise UserError(
            f"no images in {pattern}: the members of a shard are named KEY.jpg (png, webp, bmp){unused}"
        )
    table = np.concatenate([shard.table for shard in shards])
    keys = [key_of(member) for member in members]
    full_names = [
        f"{path.name}:{member}" for path, shard in zip(paths, shards, strict=True) for member in shard.members
    ]
    names = [name for shard in shards for name in shard.class_names]
    labels, class_names, missing = _labels(table[:, 4], names, full_names)
    index = Index(
        sample_ids=sample_ids(keys, full_names),
        heights=table[:, 2].astype(np.int32),
        widths=table[:, 3].astype(np.int32),
        labels=labels,
        class_names=class_names,
        fingerprint=fingerprint(keys, table[:, 1].tolist(), labels, class_names),
        notes=left_out.note(pattern) + missing,
    )
    return ShardSource(index, paths, shards, files)


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write one tar shard, atomically; equal samples give equal bytes.

    Args:
        samples: a key (``folder/name``, no dot in the name) and the members of each sample by extension,
            for example ``("000000", {"jpg": b"...", "cls": b"7"})``.

    Raises:
        ValueError: a key that would be read back as another.
        OSError: the folder or the disk refuses; an older shard at ``path`` is left as it was.
    """
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for key, members in samples:
            if not key or key.startswith("./") or key.endswith("/") or key_of(f"{key}.") != key:
                raise ValueError(f"{key!r} is no key of a sample: its name is empty or holds a dot")
            for extension, content in members.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def key_of(member: str) -> str:
    """The key of a member: its path up to the first dot of its name."""
    folder, slash, name = member.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _labels(
    numbers: np.ndarray, names: Sequence[str], where: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Labels (int64 [N] or None), class names, and a note where labels are not used."""
    numbered, named = numbers != NO_LABEL, np.array([name != "" for name in names])
    if not numbered.any() and not named.any():
        return None, (), ()
    if numbered.all():
        largest = int(numbers.max())
        if largest >= largest_class(len(numbers)):
            first = visible(printable(where[int(numbers.argmax())]))
            return None, (), (f"labels are not used: {largest} is no class number ({first})",)
        of_number = dict(zip(numbers.tolist(), names, strict=True)) if named.all() else {}
        return numbers, tuple(of_number.get(n, str(n)) for n in range(largest + 1)), ()
    if named.all():
        class_names, labels = np.unique(np.array(names), return_inverse=True)
        return labels.astype(np.int64), tuple(class_names.tolist()), ()
    missing = np.flatnonzero(~(numbered if numbered.any() else named))
    first = visible(printable(where[int(missing[0])]))
    return (
        None,
        (),
        (f"labels are not used: {len(missing)} of {len(names)} samples have none (first: {first})",),
    )
