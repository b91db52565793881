"""Result of a benchmark: its rows and the machine that they were measured on, as one JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from fastssl.run.versions import git_commit, versions
from pipelines.command.errors import UserError
from pipelines.files.atomic import atomic_file

_PACKAGES = (
    *("torch", "torchvision", "triton", "numpy", "numba", "simplejpeg", "pillow", "kornia"),
    *("nvidia-dali-cuda120", "opencv-python-headless", "opencv-python", "ffcv", "pyarrow"),
    *("nvidia-nvimgcodec-cu12", "cvcuda-cu12", "triton-augment"),
    *("datasets", "webdataset", "mosaicml-streaming", "litdata", "s3fs", "moto"),
)


class Result(TypedDict):
    """One run of a benchmark.

    Attributes:
        machine: processor, cores that could be used, memory, system, NVIDIA GPUs.
        versions: of Python and of the packages that are installed.
        commit: of this code, "-dirty" if it was changed; None outside git.
        command: as it was typed.
        rows: metrics; which, the benchmark's own file says.
    """

    machine: str
    versions: dict[str, str]
    commit: str | None
    command: str
    rows: list[dict[str, Any]]


def result_of(piece: str, arguments: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Result:
    """The result of ``python -m benchmarks.PIECE ARGUMENTS``, run here and now."""
    return Result(
        machine=_machine(),
        versions=versions(_PACKAGES),
        commit=git_commit(),
        command=shlex.join(["python", "-m", f"benchmarks.{piece}", *arguments]),
        rows=[dict(row) for row in rows],
    )


def check_places(*paths: Path | None) -> None:
    """Make the folders of files that will be written, before anything is measured.

    Raises:
        UserError: one cannot be written; the message names it.
    """
    for path in paths:
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}): name another file") from None
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            reason = "it is a folder" if path.is_dir() else "its folder is read-only"
            raise UserError(f"cannot write {path} ({reason}): name another file")


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def read_result(path: Path) -> Result:
    """A result that was written before.

    Raises:
        UserError: no such file, or another kind of file.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}): give a file that --json of a benchmark wrote"
        ) from None
    if not isinstance(result, dict) or set(result) != set(Result.__annotations__):
        raise UserError(f"{path} is no result of a benchmark: give a file that --json of a benchmark wrote")
    return Result(**result)  # type: ignore[typeddict-item]


def _machine() -> str:
    processor = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    name = processor[1] if processor else platform.machine()
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    parts = [name, f"{cores} cores", f"{gigabytes:.0f} GB", f"{platform.system()} {platform.release()}"]
    return ", ".join([*parts, *_gpus()])


def _gpus() -> list[str]:
    """Their names, as the driver's own tool gives them."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines() if answer.returncode == 0 else []
