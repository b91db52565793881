"""One visit to a GPU: what is most worth knowing comes first, each step with its own time limit.

    make gpu [PYTHON=python3 VENV=none] [OUT=DIR] [STEPS=c,f]      (a) to (f) at most 4 minutes, all 6 1/2
    make gpu-long [PYTHON=python3 VENV=none] [OUT=DIR] DATA=CIFAR10.beton

Needs no network and, with VENV=none, no installation: an interpreter that has torch, and whatever else there
is on PYTHONPATH; a step whose packages are missing is skipped with their names. ``OUT/results.json`` is
written anew after each step and ``OUT/log.txt`` has the end of what each printed, so that a visit that is cut
short loses one step; ``OUT/profile-*.txt`` say where the time of views and steps went, a page each. A step
that fails does not stop the others; the exit status is 1 if one failed.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.files.atomic import atomic_file

_LOG_BYTES = 100_000  # of each step
_GRACE_S = 10  # for a step that was told to stop


@dataclass(frozen=True)
class Step:
    """A command of a visit, run in a process of its own."""

    letter: str
    title: str
    limit_s: int
    command: str
    """Words behind ``python -m``; JSON stands for the file of its result, OUT for the visit's folder, CORES
    for the number of cores, DATA for CIFAR-10."""
    needs: tuple[str, ...] = ()
    """Packages besides torch and numpy."""


def _tests() -> str:
    """The tests marked ``gpu``: files without one may need packages that are not there."""
    tests = Path(__file__).parent.parent / "tests"
    files = [str(path) for path in sorted(tests.rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    spread = "-n 8 --dist worksteal" if find_spec("xdist") is not None else ""
    return f"pytest -m gpu -q --tb=short --durations=15 -p no:benchmark {spread} {shlex.join(files)}"


_DECODING = ("simplejpeg", "numba", "PIL", "rich", "tyro")
_VIEWS = "benchmarks.views --device cuda --json JSON --profile OUT/profile-views.txt"
_LOADER = "benchmarks.loader --data generated --views 2 --threads CORES --against --device cuda --json JSON"
_OPTIMIZER = "benchmarks.optimizer --device cuda --json JSON --contenders triton foreach loop torch apex"
_LARGE_STEPS = (
    "benchmarks.step moco-v2-plus-imagenet byol-sgd-imagenet --batch-size 256 --variants fused-batch-norm "
    "--device cuda --json JSON --profile OUT/profile-steps.txt"
)
_SMALL_STEPS = (
    "benchmarks.step byol-cifar10 --variants cuda-graph fused-batch-norm "
    "--device cuda --json JSON --profile OUT/profile-small-steps.txt"
)
_THREADS = "benchmarks.threads --data generated --threads 1 CORES --json JSON"
_BYOL = "fastssl.train byol-cifar10 --data DATA --out OUT/byol-cifar10 --monitor-every 5 --device cuda"
STEPS = (
    Step("a", "kernels", 40, "benchmarks.smoke", _DECODING),
    Step("b", "tests", 60, _tests(), ("pytest",)),
    Step("c", "views", 35, _VIEWS, _DECODING),
    Step("d", "loader", 33, _LOADER, _DECODING),
    Step("e", "optimizer", 22, _OPTIMIZER),
    Step("f", "steps", 50, _LARGE_STEPS, _DECODING),
    Step("g", "small steps", 40, _SMALL_STEPS, _DECODING),
    Step("h", "tune", 40, "benchmarks.tune --json JSON", _DECODING),
    Step("i", "batch norm", 40, "benchmarks.batch_norm --json JSON"),
    Step("j", "threads", 30, _THREADS, _DECODING),
)
LONG = Step("l", "byol-cifar10", 530, _BYOL, _DECODING)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a visit."""

    out: Path = Path("gpu")
    """Folder for results.json and log.txt."""
    steps: str = ""
    """Letters of the steps to take, c,f for instance; empty: all but the long one."""
    long: bool = False
    """Train byol-cifar10 from its start until the limit, instead of the steps."""
    data: str = ""
    """CIFAR-10 for --long, one .beton for instance."""


def main(argv: Sequence[str] | None = None) -> int:
    """Take the steps and print a table."""
    prog = "python -m benchmarks.gpu"
    options = read_options(Options, prog, argv, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {options.out} ({error.strerror}): name another folder") from None
    return visit(_chosen(options), options.out, options.data)


def visit(steps: Sequence[Step], out: Path, data: str = "") -> int:
    """Take steps one after the other. Returns 1 if one failed or ran past its limit, else 0."""
    results: dict[str, Any] = {}
    (out / "log.txt").write_text("")
    for step in steps:
        print(f"({step.letter}) {step.title} ...", flush=True)
        results[step.title] = take(step, out, data)
        with atomic_file(out / "results.json") as file:
            file.write((json.dumps(results, indent=1) + "\n").encode())
    table = Table("step", "status", "seconds", title=f"{out / 'results.json'}")
    for title, result in results.items():
        table.add_row(title, result["status"], f"{result['seconds']:.0f}")
    Console().print(table)
    return int(any(result["status"].startswith(("failed", "stopped")) for result in results.values()))


def take(step: Step, out: Path, data: str) -> dict[str, Any]:
    """Take one step: its ``status`` (done, skipped, failed or stopped, and why), ``seconds``, ``result``."""
    missing = [name for name in step.needs if find_spec(name) is None]
    if missing:
        return {"status": f"skipped: no {', '.join(missing)} here", "seconds": 0.0}
    command = shlex.split(step.command)
    if "DATA" in command and not Path(data).exists():
        return {"status": f"skipped: no data at {data or 'DATA='}", "seconds": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = {"JSON": str(result), "CORES": str(len(os.sched_getaffinity(0))), "DATA": data}
        command = [words.get(word, word).replace("OUT/", f"{out}/") for word in command]
        begin = time.perf_counter()
        status = _run([sys.executable, "-m", *command], step.limit_s, out / "log.txt", step.title)
        found: dict[str, Any] = {"status": status, "seconds": round(time.perf_counter() - begin, 1)}
        if result.exists():
            found["result"] = json.loads(result.read_text())
    return found


def _run(command: list[str], limit_s: int, log: Path, title: str) -> str:
    """Run a command, append the end of its words to the log. Returns its status."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(limit_s)
            status = "done" if process.returncode == 0 else f"failed with exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            status = f"stopped at its limit of {limit_s} s"
        finally:
            _end(process)
        words.seek(max(0, words.tell() - _LOG_BYTES))
        with log.open("ab") as file:
            file.write(f"\n==== {title}: {status}\n".encode() + words.read())
    return status


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; a training writes its checkpoint first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None and number is signal.SIGTERM:
            continue
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _chosen(options: Options) -> list[Step]:
    if options.long:
        return [LONG]
    letters = [letter.strip() for letter in options.steps.split(",") if letter.strip()]
    known = {step.letter: step for step in STEPS}
    for letter in letters:
        if letter not in known:
            raise UserError(f"no step {letter}: --steps takes {','.join(known)}")
    return [known[letter] for letter in letters] or list(STEPS)


if __name__ == "__main__":
    run_command(main)
