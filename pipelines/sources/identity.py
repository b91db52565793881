"""Ids of samples and fingerprints of data sets, the same wherever they lie."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from pipelines.keys import stable_id

_AT_A_TIME = 1 << 12  # texts that are hashed


def printable(name: str) -> str:
    """A file name as text that can be printed and hashed, even where it is not valid UTF-8."""
    if name.isascii():  # nearly all are
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _all_printable(names: Sequence[str]) -> Sequence[str]:
    return names if "".join(names).isascii() else [printable(name) for name in names]


def stable_ids(texts: Iterable[str]) -> np.ndarray:
    """``stable_id`` of each text as ``printable`` has it, int64 [N]."""
    texts, joined = iter(texts), bytearray()
    while some := list(itertools.islice(texts, _AT_A_TIME)):
        joined += b"".join([blake2b(text.encode(), digest_size=8).digest() for text in _all_printable(some)])
    return np.frombuffer(joined, "<i8").astype(np.int64)


def sample_ids(keys: Iterable[str], full_names: Sequence[str]) -> np.ndarray:
    """Stable ids (int64 [N]) of samples by key: the path below the split, without its extension.

    Where samples share a key (``a.jpg`` beside ``a.png``, or one key in two shards), the first keeps the id
    of the key and the others get that of their full name, so that all are samples of their own.
    """
    ids = stable_ids(keys)
    _, first = np.unique(ids, return_index=True)
    repeated = np.ones(len(ids), bool)
    repeated[first] = False
    for index in np.flatnonzero(repeated).tolist():
        ids[index] = stable_id(printable(full_names[index]))
    return ids


def fingerprint(
    names: Sequence[str],
    sizes: Sequence[int] | np.ndarray,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> str:
    """Hex digest of samples in order, not of where they lie or when they were written.

    Args:
        names: of the samples.
        sizes: bytes.
        labels: int64 [N]; None where the names tell them, or there are none.
        class_names: what these labels stand for.
    """
    assert len(names) == len(sizes), (len(names), len(sizes))
    digest = blake2b(digest_size=16)
    for first in range(0, len(names), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        part = sizes[some]
        numbers = part.tolist() if isinstance(part, np.ndarray) else part
        lines = [f"{name}\0{size}\n" for name, size in zip(_all_printable(names[some]), numbers, strict=True)]
        digest.update("".join(lines).encode())
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    for name in class_names:
        digest.update(f"{printable(name)}\n".encode())
    return digest.hexdigest()


def sorted_names(names: set[str]) -> list[str]:
    """Names of classes, sorted: as numbers where all are whole numbers."""
    if all(re.fullmatch(r"\d+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def largest_class(count: int) -> int:
    """The bound of class numbers in ``count`` samples: names and counters per class must fit in memory."""
    return max(1 << 16, count)
