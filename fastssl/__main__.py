"""``fastssl COMMAND ...``, or ``python -m fastssl COMMAND ...``: each command is the main of its own module.

The current folder is not searched for packages, so that a ``pipelines`` or ``benchmarks`` of the user's there
is none of ours. A command is imported when it is run.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from fastssl.own_command import start
from fastssl.remembered import with_memory
from pipelines.command.errors import UserError, run_command
from pipelines.command.suggest import suggest

COMMANDS = {  # name: module, description
    "train": ("fastssl.train", "pre-train an encoder, or resume a run"),
    "evaluate": ("fastssl.evaluate.__main__", "measure encoders"),
    "transfer": ("fastssl.transfer.__main__", "train an encoder on a task of labeled images, and measure it"),
    "diagnostics": ("fastssl.diagnostics.__main__", "draw what encoders are like"),
    "export": ("fastssl.export.__main__", "write an encoder for another library"),
    "features": ("fastssl.features", "write the features of images"),
    "estimate": ("fastssl.estimate", "say what a run will take"),
    "pack": ("pipelines.pack", "write a data set as tar shards or as a .beton"),
    "sweep": ("launchers.sweep", "run a study or a grid, here or on SLURM"),
    "search": ("launchers.search", "search the best values of a recipe's fields"),
    "status": ("launchers.status", "show a sweep's status, stop or retry it"),
    "report": ("launchers.report", "write a sweep's results as one page"),
    "taxonomy": ("fastssl.classes.taxonomy", "show the classes that a taxonomy takes together"),
    "bench": ("", "measure speed: {benchmarks}"),
    "completion": ("fastssl.completion", "print a script that completes all this in bash and zsh"),
}
BENCHMARKS = (
    "batch_norm",
    "decode",
    "limits",
    "loader",
    "optimizer",
    "render",
    "report",
    "scenes",
    "start",
    "step",
    "threads",
    "training",
    "tune",
    "views",
)


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    Raises:
        UserError: no such command.
    """
    name, *words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name not in COMMANDS:
        raise UserError(f"no command {name}: {suggest(name, COMMANDS, otherwise=', '.join(COMMANDS))}")
    module, _ = COMMANDS[name]
    if name == "bench":
        if not words or words[0] not in BENCHMARKS:
            raise UserError(f"fastssl bench takes one of {', '.join(BENCHMARKS)}, then its options")
        module = f"benchmarks.{words.pop(0)}"
    start(module, words)
    sys.argv = [sys.argv[0], *words]

    def run() -> int:
        status: int = import_module(module).main()
        return status

    return with_memory(module, words, run)


def modules() -> list[str]:
    """Modules of all commands."""
    own = [module for module, _ in COMMANDS.values() if module]
    return own + [f"benchmarks.{name}" for name in BENCHMARKS]


def _usage() -> str:
    lines = ["Pre-train image encoders and measure them. Usage: fastssl COMMAND [options]", ""]
    for name, (_, about) in COMMANDS.items():
        lines.append(f"  {name:<11} {about.format(benchmarks=', '.join(BENCHMARKS))}")
    return "\n".join([*lines, "", "fastssl COMMAND --help tells more."])


def console_script() -> None:
    """Run ``main`` as a program."""
    root = str(Path(__file__).resolve().parents[1])
    if sys.path[0] in ("", str(Path.cwd())) and sys.path[0] != root:
        del sys.path[0]  # python -m puts it there
    run_command(main)


if __name__ == "__main__":
    console_script()
