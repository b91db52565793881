"""Sizes of very many JPEGs from their headers, without Python's lock.

A file that is no plain JPEG, or whose header does not lie in its first 16 KiB, is left to
``pipelines.decode.header``, the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.files.kernels import njit
from pipelines.files.system_calls import pack_paths, read_start

_PREFIX = 1 << 14
_ORIENTATION = 0x0112  # EXIF tag
_EXIF = np.frombuffer(b"Exif\0\0", np.uint8)


def jpeg_sizes(paths: Sequence[str]) -> np.ndarray:
    """Heights and widths of upright images, int32 [N, 2]; 0 for those that the reference has to look at.

    Args:
        paths: of files, without NUL.
    """
    sizes = np.zeros((len(paths), 2), np.int32)
    _sizes_of_files(*pack_paths(paths), sizes)
    return sizes


@njit(cache=True, nogil=True)
def _sizes_of_files(paths: np.ndarray, begins: np.ndarray, sizes: np.ndarray) -> None:
    data = np.empty(_PREFIX, np.uint8)
    for i in range(len(begins)):
        length = read_start(paths, begins[i], data)
        if length > 0:
            sizes[i, 0], sizes[i, 1] = size_of_start(data[:length])


@njit(cache=True, nogil=True)
def size_of_start(data: np.ndarray) -> tuple[int, int]:
    """Height and width of the upright JPEG that begins with ``data`` (uint8 [n]); 0, 0: it does not tell."""
    if len(data) < 3 or data[0] != 0xFF or data[1] != 0xD8 or data[2] != 0xFF:
        return 0, 0
    position, orientation = 2, 0  # 0: no EXIF segment yet
    while True:
        while position < len(data) and data[position] != 0xFF:
            position += 1
        while position < len(data) and data[position] == 0xFF:
            position += 1
        if position + 8 >= len(data):
            return 0, 0
        marker = data[position]
        if marker == 0 or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            position += 1
            continue
        if marker == 0xD9 or marker == 0xDA:  # the image's end, or its scan
            return 0, 0
        if 0xC0 <= marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:
            height, width = _number(data, position + 4, 2, True), _number(data, position + 6, 2, True)
            if height == 0 or width == 0:
                return 0, 0
            return (width, height) if orientation >= 5 else (height, width)
        end = position + 1 + _number(data, position + 1, 2, True)
        if marker == 0xE1 and orientation == 0 and _begins_exif(data, position + 3):
            orientation = _orientation(data[position + 9 : max(position + 9, min(end, len(data)))])
        position = end


@njit(cache=True, nogil=True)
def _orientation(exif: np.ndarray) -> int:
    """See ``pipelines.decode.header.exif_orientation``."""
    if _begins_exif(exif, 0):
        exif = exif[6:]
    if len(exif) < 8 or exif[0] != exif[1] or (exif[0] != 0x49 and exif[0] != 0x4D):
        return 1
    big = exif[0] == 0x4D
    directory = _number(exif, 4, 4, big)
    if directory + 2 > len(exif):
        return 1
    for entry in range(_number(exif, directory, 2, big)):
        begin = directory + 2 + 12 * entry
        if begin + 4 > len(exif):
            return 1
        if _number(exif, begin, 2, big) == _ORIENTATION:
            size = 4 if _number(exif, begin + 2, 2, big) == 4 else 2
            value = _number(exif, begin + 8, size, big) if begin + 8 + size <= len(exif) else 1
            return value if 1 <= value <= 8 else 1
    return 1


@njit(cache=True, nogil=True)
def _begins_exif(data: np.ndarray, position: int) -> bool:
    return position + len(_EXIF) <= len(data) and bool(
        (data[position : position + len(_EXIF)] == _EXIF).all()
    )


@njit(cache=True, nogil=True)
def _number(data: np.ndarray, position: int, size: int, big: bool) -> int:
    """An unsigned number of ``size`` bytes."""
    value = 0
    for i in range(size):
        value = (value << 8) | int(data[position + (i if big else size - 1 - i)])
    return value
