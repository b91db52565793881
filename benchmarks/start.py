"""Cost over size: core-seconds and memory of opening many images, and the core time of reading some of them.

They are a few small JPEGs over and over: a folder's files are hard links to them, in 100 class folders, so
that a million need no room; a shard is one tar with all of them. All are in the system's memory, as after a
first pass. Kernels are compiled before. Each opening is a process of its own. Memory is the most that was
resident above what importing torch and fastssl's loaders takes, until the set is open. Then as many images
as the smallest set has, at most 4,096, are drawn from all of it and rendered into two views of 64 pixels.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.contenders import CHAIN, Work
from benchmarks.images import generated_jpeg
from benchmarks.worker import memory_of
from pipelines.command.errors import run_command
from pipelines.command.ranges import Counts
from pipelines.files.kernels import compiled_folder
from pipelines.sources.shards import write_shard

_SIDE = 64  # pixels
_CLASSES = 100
_LINKED = 64  # files; file systems take tens of thousands of links to one
_READ = 4096  # images
_SMALL = replace(CHAIN, size=_SIDE)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One opening of one set of images."""

    kind: str
    """folder, or shard."""
    files: int
    """Images in it."""
    cache: str
    """empty, or filled."""
    core_s: float
    """User and system seconds."""
    wall_s: float
    peak_mb: float
    """Memory above that of the imports, 10^6 bytes."""
    core_us_per_image: float
    """Of images read in random order and rendered, in microseconds of all cores."""


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    files: Counts = (10_000, 100_000)
    """Numbers of images."""
    kinds: tuple[Literal["folder", "shard"], ...] = ("folder", "shard")
    """A folder with a file for each, one tar shard."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("start", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    with linked_files(1) as folder, tempfile.TemporaryDirectory(prefix="fastssl-cache-") as cache:
        _in_a_process(folder, cache, 1)  # compiles the kernels
    read = min(_READ, *options.files)
    return [
        asdict(row) for kind in options.kinds for files in options.files for row in measure(kind, files, read)
    ]


def measure(kind: str, files: int, read: int) -> list[Row]:
    """Open a set of so many images twice, and read some of them each time."""
    made = linked_files if kind == "folder" else one_shard
    with made(files) as where, tempfile.TemporaryDirectory(prefix="fastssl-cache-") as cache:
        return [
            Row(kind=kind, files=files, cache=state, **_in_a_process(where, cache, read))
            for state in ("empty", "filled")
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


@contextmanager
def one_shard(count: int) -> Iterator[Path]:
    """A temporary tar shard with so many images."""
    with tempfile.TemporaryDirectory(prefix="fastssl-benchmark-") as temporary:
        images = [generated_jpeg(number, _SIDE, _SIDE) for number in range(min(_LINKED, count))]
        shard = Path(temporary) / "train-000000.tar"
        write_shard(shard, ((f"{n:07}", {"jpg": images[n % len(images)]}) for n in range(count)))
        yield shard


def opening(where: str, read: int) -> dict[str, float]:
    """Open a set of images here, read some, and say what it took: the numbers of a ``Row``."""
    from benchmarks.contenders.fastssl import passes  # and torch, which every command imports
    from pipelines.sources import open_source

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_of(os.getpid(), "VmRSS")
    core, wall = time.process_time(), time.perf_counter()
    source = open_source(where, "train")
    core, wall = time.process_time() - core, time.perf_counter() - wall
    peak = memory_of(os.getpid(), "VmHWM") - before
    work = Work(folder=Path(where), views=2, threads=len(os.sched_getaffinity(0)), spec=_SMALL)
    batches = passes(work, source)
    next(batches())  # with it threads and memory are made
    began, images = time.process_time(), 0
    for batch in itertools.islice(batches(), max(1, read // work.batch_size)):
        images += len(batch[0])
    return {
        "core_s": round(core, 3),
        "wall_s": round(wall, 3),
        "peak_mb": round(peak / 1e6, 1),
        "core_us_per_image": round(1e6 * (time.process_time() - began) / images, 1),
    }


def _in_a_process(where: Path, cache: str, read: int) -> dict[str, float]:
    call = "opening(sys.argv[1], int(sys.argv[2]))"
    code = f"import json, sys; from benchmarks.start import opening; print(json.dumps({call}))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(where), str(read)],
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
