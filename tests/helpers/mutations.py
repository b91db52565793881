"""Damaged copies of a file, for tests that feed a reader thousands of them: structured, from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63)


def few_and_many(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrize a test by ``count``: few damaged files, and very many where these are asked for."""
    marks = [pytest.mark.slow, pytest.mark.fuzz]
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=marks)])


def mutations(
    seeds: list[bytes], count: int, *, repair: Callable[[bytearray], bytearray] = lambda data: data
) -> Iterator[bytes]:
    """Yield ``count`` damaged copies.

    Args:
        seeds: whole files of one format; parts of one may end up in another.
        count: of the copies.
        repair: makes checksums good again, so that the damage reaches the parser; left out of every fourth.
    """
    draw = random.Random(0)
    for number in range(count):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 2, 4))):
            _damage(data, draw.choice(seeds), draw)
        yield bytes(data if number % 4 == 0 else repair(data))


def damaged_files(path: Path, copies: Iterator[bytes]) -> Iterator[bytes]:
    """Write each copy to ``path`` and yield it; the file is never empty, which some disks take long for."""
    with path.open("w+b", buffering=0) as file:
        for data in copies:
            file.seek(0)
            file.write(data)
            file.truncate()
            yield data


def one_line(error: Exception, *words: str) -> None:
    """Check that the message of an error is one line, and holds these words."""
    assert str(error)
    assert "\n" not in str(error)
    assert all(word in str(error) for word in words)


def _damage(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    length = draw.choice((1, 2, 4, 8, 12, 100, 512))
    kind = draw.randrange(9)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = draw.choice((0, 1, 0x20, 0x30, 0x37, 0x39, 0x7F, 0x80, 0xFF, 0xD8, 0xD9, 0xE1, 0x2D))
    elif kind == 2:
        width = draw.choice((1, 2, 4, 8))
        number = draw.choice(_EDGES) & ((1 << 8 * width) - 1)
        data[at : at + width] = number.to_bytes(width, draw.choice(("little", "big")))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at : at + length]
    elif kind == 5:
        data[at:at] = data[at : at + length] * draw.choice((1, 3, 20))
    elif kind == 6:
        data[at : at + length] = bytes(length)
    elif kind == 7:
        start = draw.randrange(len(other))
        data[at : at + length] = other[start : start + length]
    else:
        data[at : at + length] = draw.randbytes(length)
