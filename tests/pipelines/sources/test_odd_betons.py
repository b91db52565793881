"""``.beton`` files that claim what is not there: one line each, and no memory outside the file is shown."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import BetonRow, write_beton

HEADER, FIELD = 24, 1 + 16 + 1024  # bytes
LABEL = HEADER + FIELD + 17  # arguments of the second field: a mark, and where the names of the classes lie
ADDRESS, SIZE = LABEL + 16, LABEL + 24
ROW = HEADER + 3 * FIELD  # of the first image: mode, width, height, address


def patch(data: bytearray, place: int, kind: str, number: int) -> None:
    struct.pack_into(kind, data, place, number)


def names_beyond(data: bytearray) -> None:
    patch(data, ADDRESS, "<Q", (1 << 64) - 1)


def huge_names(data: bytearray) -> None:
    patch(data, SIZE, "<Q", (1 << 63) - 1)


def names_of_another_kind(data: bytearray) -> None:
    (place,) = struct.unpack_from("<Q", data, ADDRESS)
    data[place : place + 1] = b"5"
    patch(data, SIZE, "<Q", 1)


def deep_names(data: bytearray) -> None:
    place = len(data)
    data += b"[" * 100_000
    patch(data, ADDRESS, "<Q", place)
    patch(data, SIZE, "<Q", 100_000)


def no_fields(data: bytearray) -> None:
    patch(data, 2, "<H", 0)


def no_width(data: bytearray) -> None:
    """A raw image of no width, whose allocation has no bytes."""
    patch(data, ROW + 1, "<H", 0)
    (table,) = struct.unpack_from("<Q", data, 16)
    patch(data, table + 16, "<Q", 0)


@pytest.mark.parametrize(
    "damage", [names_beyond, huge_names, names_of_another_kind, deep_names, no_fields, no_width]
)
def test_it_is_refused_in_one_line(damage: Callable[[bytearray], None], tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)
    rows = [BetonRow(image, sample_id=number, label=number % 2) for number, image in enumerate(pixels)]
    write_beton(path, rows, capacity=4, class_names=("ant", "bee"))
    assert open_beton(str(path), "train").index.class_names == ("ant", "bee")
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=r"a\.beton( is no whole \.beton file|: it takes one image field)"
    ) as caught:
        open_beton(str(path), "train")
    assert "\n" not in str(caught.value)
