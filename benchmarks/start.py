"""Cost over size: core-seconds and memory of opening folders of many images, first and from the cache.

The files are hard links to a few small JPEGs, in 100 class folders, so that a million need no room; their
headers are in the system's memory, as after a first pass. Kernels are compiled before. Each opening is a
process of its own. Memory is the most that was resident above what importing torch and fastssl's sources
takes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import run_benchmark
from benchmarks.images import generated_jpeg
from pipelines.command.errors import run_command
from pipelines.command.ranges import Counts, check_ranges
from pipelines.files.kernels import compiled_folder

_SIDE = 64  # pixels
_CLASSES = 100
_LINKED = 64  # files; file systems take tens of thousands of links to one


@dataclass(frozen=True, kw_only=True)
class Row:
    """One opening of one folder."""

    files: int
    """Images in the folder."""
    cache: str
    """empty, or filled."""
    core_s: float
    """User and system seconds."""
    wall_s: float
    peak_mb: float
    """Memory above that of the imports, 10^6 bytes."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    files: Counts = (10_000, 100_000)
    """Numbers of images."""
    json: Path | None = None
    """File for the result."""

    def __post_init__(self) -> None:
        check_ranges(self)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("start", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    with linked_files(1) as folder, tempfile.TemporaryDirectory(prefix="fastssl-cache-") as cache:
        _in_a_process(folder, cache)  # compiles the kernels
    return [asdict(row) for files in options.files for row in measure(files)]


def measure(files: int) -> list[Row]:
    """Open a folder of so many images twice."""
    with linked_files(files) as folder, tempfile.TemporaryDirectory(prefix="fastssl-cache-") as cache:
        return [
            Row(files=files, cache=state, **_in_a_process(folder, cache)) for state in ("empty", "filled")
        ]


@contextmanager
def linked_files(count: int) -> Iterator[Path]:
    """A temporary folder of class folders with so many images in all."""
    with tempfile.TemporaryDirectory(prefix="fastssl-benchmark-") as temporary:
        originals, folder = Path(temporary) / "originals", Path(temporary) / "images"
        originals.mkdir()
        for number in range(min(_LINKED, count)):
            (originals / f"{number}.jpg").write_bytes(generated_jpeg(number, _SIDE, _SIDE))
        for number in range(min(_CLASSES, count)):
            (folder / f"class-{number:03}").mkdir(parents=True)
        for number in range(count):
            link = folder / f"class-{number % _CLASSES:03}" / f"{number:07}.jpg"
            os.link(originals / f"{number % _LINKED}.jpg", link)
        yield folder


def opening(where: str) -> dict[str, float]:
    """Open a folder of images here, and say what it took: the entries of a ``Row``."""
    import torch  # noqa: F401  (what every command imports)

    from pipelines.sources import open_source

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    core, wall = time.process_time(), time.perf_counter()
    source = open_source(where, "train")
    core, wall = time.process_time() - core, time.perf_counter() - wall
    assert len(source.index)
    return {
        "core_s": round(core, 3),
        "wall_s": round(wall, 3),
        "peak_mb": round((_memory("VmHWM") - before) / 1e6, 1),
    }


def _memory(name: str) -> int:
    """Bytes, of an entry of proc(5)'s status."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def _in_a_process(folder: Path, cache: str) -> dict[str, float]:
    code = "import json, sys; from benchmarks.start import opening; print(json.dumps(opening(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"FASTSSL_CACHE": cache, "NUMBA_CACHE_DIR": str(compiled_folder())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    taken: dict[str, float] = json.loads(done.stdout)
    return taken


if __name__ == "__main__":
    run_command(main)
