"""A contender in a process of its own, which ``benchmarks.rounds`` speaks to in lines of JSON.

The first line says what to do and is answered by {"ready": true}, or {"missing": reason} if the contender
is not installed. After that every line asks for one round, one pass over all files, and is answered by a
``Round``. The process ends with its input.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders import Pass, Work, open_contender


@dataclass(frozen=True, kw_only=True)
class Round:
    """Time of one pass over the files.

    Attributes:
        images: that were handed over.
        wall_s: seconds.
        core_s: user and system seconds of all threads and worker processes.
        peak_mb: the most memory that was ever resident, MB (10^6 bytes), summed over the worker processes,
            which share some of it.
    """

    images: int
    wall_s: float
    core_s: float
    peak_mb: float


def main() -> int:
    """Answer the lines of stdin on stdout."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a contender may print

    def answer(value: dict[str, object]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    task = json.loads(sys.stdin.readline())
    work = Work(
        folder=Path(task["folder"]), views=task["views"], threads=task["threads"], device=task["device"]
    )
    try:
        run = open_contender(task["contender"], task["output"], work)
    except ImportError as error:
        answer({"missing": str(error)})
        return 0
    answer({"ready": True})
    for _ in sys.stdin:
        answer(asdict(measure(run)))
    return 0


def measure(run: Pass) -> Round:
    """Run one pass."""
    wall, core = time.perf_counter(), core_seconds()
    images = sum(len(batch[0]) for batch in run())
    wall, core = time.perf_counter() - wall, core_seconds() - core
    return Round(images=images, wall_s=wall, core_s=core, peak_mb=_peak_mb())


def core_seconds() -> float:
    """User and system time of this process and of its children, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # commands that were waited for
    running = sum(core_seconds_of(pid) for pid in _children())
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def core_seconds_of(pid: int) -> float:
    """User and system time, in steps of 10 ms (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    return sum(memory_of(pid, "VmHWM") for pid in [os.getpid(), *_children()]) / 1e6


def memory_of(pid: int, name: str) -> int:
    """Bytes, of an entry of proc(5)'s status."""
    kib = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert kib is not None
    return 1024 * int(kib[1])


def _children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


if __name__ == "__main__":
    sys.exit(main())
