"""``.beton`` files that claim what is not there: one line each, and no memory outside the file is shown."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import BetonRow, write_beton
from tests.helpers.refusals import refused

HEADER, FIELD = 24, 1 + 16 + 1024  # bytes
LABEL = HEADER + FIELD + 17  # arguments of the second field: a mark, and where the names of the classes lie
ADDRESS, SIZE = LABEL + 16, LABEL + 24
ROW = HEADER + 3 * FIELD  # of the first image: mode, width, height, address


def patch(data: bytearray, place: int, kind: str, number: int) -> None:
    struct.pack_into(kind, data, place, number)


def damage(data: bytearray, what: str) -> None:
    (names,) = struct.unpack_from("<Q", data, ADDRESS)
    (table,) = struct.unpack_from("<Q", data, 16)
    if what == "names beyond":
        patch(data, ADDRESS, "<Q", (1 << 64) - 1)
    elif what == "huge names":
        patch(data, SIZE, "<Q", (1 << 63) - 1)
    elif what == "names of another kind":
        data[names : names + 1] = b"5"
        patch(data, SIZE, "<Q", 1)
    elif what == "deep names":
        patch(data, ADDRESS, "<Q", len(data))
        patch(data, SIZE, "<Q", 100_000)
        data += b"[" * 100_000
    elif what == "no fields":
        patch(data, 2, "<H", 0)
    else:  # a raw image of no width, whose allocation has no bytes
        patch(data, ROW + 1, "<H", 0)
        patch(data, table + 16, "<Q", 0)


@pytest.mark.parametrize(
    "what", ["names beyond", "huge names", "names of another kind", "deep names", "no fields", "no width"]
)
def test_it_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)
    rows = [BetonRow(image, sample_id=number, label=number % 2) for number, image in enumerate(pixels)]
    write_beton(path, rows, capacity=4, class_names=("ant", "bee"))
    assert open_beton(str(path), "train").index.class_names == ("ant", "bee")
    data = bytearray(path.read_bytes())
    damage(data, what)
    path.write_bytes(data)
    with refused(r"a\.beton( is no whole \.beton file|: it takes one image field)"):
        open_beton(str(path), "train")
