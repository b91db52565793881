"""fastssl's loader against others: the same files, the same operations, the same number of views.

Every contender applies the whole augmentation of ``benchmarks.contenders.CHAIN`` at 224 pixels, uint8 out,
but for FFCV, which can only crop and flip: compare it with fastssl's output "crops". Each has a process of
its own, they take turns, and medians of five rounds count, after one that warms up. Core-microseconds are
user and system time of all of its threads and processes.

``--device cuda`` adds fastssl's backends as training on a GPU sees them, whole and normalized views in its
memory, beside which images per second count; ``--device cpu`` is a trial of the same without a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.contenders import OTHERS
from benchmarks.images import image_folder
from benchmarks.report import publish
from benchmarks.result import result_of
from benchmarks.rounds import Case, Row, measure
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import OptionParser

_OUTPUTS = ("views", "crops", "pixels")  # fastssl's


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    parser = OptionParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument(
        "--data", required=True, help="folder of JPEGs, searched at all depths; or: generated"
    )
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8], help="of each image")
    parser.add_argument("--against", nargs="*", default=OTHERS, help=", ".join(OTHERS))
    parser.add_argument("--threads", type=int, default=1, help="of each contender")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="measure fastssl's backends too, handing over there"
    )
    parser.add_argument("--images", type=int, default=256, help="how many, at most")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args(argv)
    for name in arguments.against:
        if name not in OTHERS:
            raise UserError(f"unknown contender {name}: --against takes {', '.join(OTHERS)}")
    if min(*arguments.views, arguments.threads) < 1:
        raise UserError("--views and --threads must be 1 or more")
    if arguments.device == "cuda" and not _has_gpu():
        raise UserError("--device cuda: torch sees no CUDA device here; --device cpu is a trial without")
    rows: list[Row] = []
    missing: set[tuple[str, str]] = set()
    with image_folder(arguments.data, arguments.images) as folder:
        for views in arguments.views:
            wanted = [
                case
                for case in cases(views, arguments.against, arguments.threads, arguments.device)
                if (case.contender, case.output) not in missing
            ]
            measured = measure(wanted, folder)
            missing |= _names(wanted) - _names(measured)  # not installed, which is said once
            rows += measured
    publish(result_of("loader", argv, [asdict(row) for row in rows]), arguments.json)
    return 0


def cases(views: int, against: Sequence[str], threads: int, device: str | None) -> list[Case]:
    """Contenders that take turns at a number of views: fastssl with each output, others beside its like.

    With a device fastssl's backends too.
    """
    on_cpu = [
        Case(contender=name, output=output, views=views, threads=threads)
        for output in _OUTPUTS
        for name in ("fastssl", *against)
        if name == "fastssl" or output == ("crops" if name == "ffcv" else "views")
    ]
    if device is None:
        return on_cpu
    from pipelines.backends.backend import BACKENDS  # with torch, slow to import

    return on_cpu + [
        Case(contender="backend", output=name, views=views, threads=threads, device=device)
        for name in BACKENDS
        if name != "fake"  # loads nothing
    ]


def _names(cases: Sequence[Case]) -> set[tuple[str, str]]:
    return {(case.contender, case.output) for case in cases}


def _has_gpu() -> bool:
    import torch  # slow to import

    return torch.cuda.is_available()


if __name__ == "__main__":
    run_command(main)
