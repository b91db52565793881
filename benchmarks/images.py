"""The images of a benchmark: a folder of JPEGs that every contender can read, the user's or generated."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.decode.decode import decode
from pipelines.decode.header import UndecodableImageError, is_jpeg, jpeg_header
from pipelines.sources.shards import write_shard

GENERATED = "generated"
IN_SHARD = 32
_MEDIAN = (375, 500)  # ImageNet's height and width
_CONTRAST = 50  # standard deviation of the luma, levels
_TINT = 0.3  # of each channel's own part of that
_ROWS_OF_GROUP = 100
_STEEPNESS = 1.3  # amplitude falls with frequency to this power: files of about 70 KB


@contextmanager
def image_folder(where: str, count: int, size: tuple[int, int] | None = None) -> Iterator[Path]:
    """A temporary folder of up to ``count`` JPEGs, named so that their order is that of their names.

    Args:
        where: a folder, searched at all depths, whose JPEGs are linked to, evenly spaced; or "generated".
            Gray and CMYK files and those that EXIF turns are left out: no two contenders agree on them.
        count: images, at most.
        size: height and width of generated images; None: ImageNet's median.

    Raises:
        UserError: no such folder, or no JPEGs in it.
    """
    with tempfile.TemporaryDirectory(prefix="fastssl-benchmark-") as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        if where == GENERATED:
            for number, content in enumerate(generated_jpegs(count, size)):
                (folder / f"{number:05}.jpg").write_bytes(content)
        else:
            for number, path in enumerate(_evenly_spaced(_plain_jpegs(Path(where)), count)):
                (folder / f"{number:05}.jpg").symlink_to(path.resolve())
        yield folder


def parquet_of(folder: Path) -> Path:
    """The Parquet file beside a folder of ``image_folder``, which ``write_parquet`` writes."""
    return folder.with_name("images.parquet")


def shards_of(folder: Path) -> Path:
    """The folder of tar shards beside a folder of ``image_folder``, which ``write_shards`` writes."""
    return folder.with_name("shards")


def write_shards(folder: Path) -> None:
    """Write the images of a folder as tar shards of ``IN_SHARD`` images."""
    paths = sorted(folder.glob("*.jpg"))
    for first in range(0, len(paths), IN_SHARD):
        some = paths[first : first + IN_SHARD]
        write_shard(
            shards_of(folder) / f"train-{first // IN_SHARD:06}.tar",
            ((path.stem, {"jpg": path.read_bytes()}) for path in some),
        )


def write_parquet(folder: Path) -> None:
    """Write the images of a folder as ``datasets`` does: a struct of bytes and path, 100 rows in a group.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        raise UserError("--data-kind parquet needs pyarrow: pip install -e '.[parquet]'") from None
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(folder.glob("*.jpg"))]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({"image": pyarrow.array(images, kind)})
    write_table(table, parquet_of(folder), row_group_size=_ROWS_OF_GROUP)


def decoded_images(where: str, count: int, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """The images of ``image_folder``, uint8 [H, W, 3] each."""
    with image_folder(where, count, size) as folder:
        return [decode(path.read_bytes()) for path in sorted(folder.iterdir())]


def generated_jpegs(count: int, size: tuple[int, int] | None = None) -> Iterator[bytes]:
    """``generated_jpeg`` of 0 to ``count - 1``, made in threads."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda number: generated_jpeg(number, *(size or _MEDIAN)), range(count))


def generated_jpeg(number: int, height: int = _MEDIAN[0], width: int = _MEDIAN[1]) -> bytes:
    """A JPEG of quality 90, about as costly to decode as a photograph; the same for the same number.

    Like those of photographs, its amplitudes fall with spatial frequency f about as 1 / f (Field, 1987,
    "Relations between the statistics of natural images"), and its channels are correlated.
    """
    generator = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # no mean of its own
    noise = np.fft.rfft2(generator.standard_normal((4, height, width))) / frequency**_STEEPNESS
    planes = np.fft.irfft2(noise, (height, width))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    pixels = 128 + _CONTRAST * (planes[0] + _TINT * planes[1:]).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _plain_jpegs(folder: Path) -> list[Path]:
    """The upright color JPEGs below a folder, sorted."""
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; --data takes a folder of images, or {GENERATED}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    plain = [path for path in paths if _is_plain(path.read_bytes())]
    if not plain:
        raise UserError(f"no upright color JPEGs in {folder}: give another folder, or {GENERATED}")
    return plain


def _is_plain(data: bytes) -> bool:
    try:
        header = jpeg_header(data) if is_jpeg(data) else None
    except UndecodableImageError:
        return False
    return header is not None and header.components == 3 and header.orientation == 1


def _evenly_spaced(paths: list[Path], count: int) -> list[Path]:
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[i] for i in chosen]
