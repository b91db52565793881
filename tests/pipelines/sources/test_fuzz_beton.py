"""Damaged ``.beton`` files: a line with the file's name, or images; never another exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import BetonRow, write_beton
from tests.helpers.beton_by_hand import jpeg, noise
from tests.helpers.mutations import damaged_files, few_and_many, mutations, one_line


def betons(folder: Path) -> list[bytes]:
    """Small files, raw and JPEG, with names of classes and without."""
    found = []
    for names in (None, ("ant", "bee")):
        rows = []
        for number in range(4):
            pixels = noise(5, 7, number)
            image = pixels if number % 2 else jpeg(pixels)
            rows.append(BetonRow(image, sample_id=number, label=number % 2))
        path = folder / "whole.beton"
        write_beton(path, rows, capacity=4, class_names=names)
        found.append(path.read_bytes())
    return found


@few_and_many(2_000, 50_000)
def test_damaged_betons(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    opened = 0
    for data in damaged_files(path, mutations(betons(tmp_path), count)):
        try:
            source = open_beton(str(path), "train")
        except UserError as error:
            one_line(error, str(path))
            continue
        opened += 1
        for number in range(len(source.index)):
            image = source.read(number)
            assert source.raw[number] == isinstance(image, np.ndarray)
            assert (image.nbytes if isinstance(image, np.ndarray) else len(image)) <= len(data)
    assert count / 20 < opened < count
