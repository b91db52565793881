"""Measure encoders: python -m fastssl.evaluate PROTOCOL[,PROTOCOL...] RUN_OR_CHECKPOINT... [--data WHERE]

Weights of other libraries and codes: python -m fastssl.evaluate PROTOCOL --weights FILE... --data WHERE
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastssl.distributed.device import DeviceName
from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.foreign_subject import open_foreign_subject
from fastssl.evaluate.protocol import Protocol, find_protocol
from fastssl.evaluate.result import write_result
from fastssl.evaluate.resumable import forget
from fastssl.evaluate.subject import Subject, open_subject
from fastssl.foreign.layouts import chosen_layout
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated
from pipelines.command.ranges import SmallCount, check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Measure encoders; each result goes to eval/*.json of its run folder."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or checkpoints of them."""
    weights: tuple[Path, ...] = ()
    """Weights of other libraries and codes: files of a state_dict, MoCo's checkpoints, detectron2's .pkl."""
    layout: str = "auto"
    """Their layout: torchvision, timm, timm:MODEL, moco, moco-v3, simsiam, detectron2, transformers."""
    data: str = ""
    """Labeled images; left out, those of the training."""
    device: DeviceName = "auto"
    """Device to compute on; auto takes a CUDA GPU if there is one. mps (Apple's) is untested."""
    workers: SmallCount = 0
    """Loader threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_ranges(self)


def parse(argv: list[str]) -> tuple[Options, dict[str, Protocol]]:
    """The options of a command line, and each protocol with its own.

    Raises:
        UserError: no such protocol or option.
    """
    words = join_repeated(argv)
    if words and words[0] not in PROTOCOLS and Path(words[0]).exists():
        raise UserError(
            f"give a protocol first, of {', '.join(PROTOCOLS)}: python -m fastssl.evaluate knn {words[0]}"
        )
    if "--run" in words:
        raise UserError("unknown option --run: name the run without it: python -m fastssl.evaluate knn RUN")
    names = words.pop(0).split(",") if words and not words[0].startswith("-") else []
    protocols = {name: find_protocol(name) for name in names}
    prog = f"python -m fastssl.evaluate {','.join(names) or 'PROTOCOL[,PROTOCOL...]'}"
    asks_help = {"--help", "-h"} & set(words)
    if not protocols and not asks_help:
        raise UserError(f"give protocols first, of {', '.join(PROTOCOLS)}: {prog} --help tells more")
    fields = [(name, kind, dataclasses.field(default=kind())) for name, kind in protocols.items()]
    options = dataclasses.make_dataclass("Options", fields, bases=(Options,), frozen=True, kw_only=True)
    known = f"Protocols: {', '.join(PROTOCOLS)}; with one of them, --help shows its options."
    description = f"{Options.__doc__}\n\n{known} The last part of an option's name will do if one has it."
    words = _with_full_names(words, protocols)
    found: Any = read_options(options, prog, words, description=description)
    if not found.runs and not found.weights:
        raise UserError(f"give a run folder, one of its checkpoints, or --weights: {prog} --help tells more")
    if chosen_layout(found.layout) and not found.weights:
        raise UserError(f"--layout {found.layout} tells of --weights FILE: give these, or leave it out")
    return found, {name: getattr(found, name) for name in protocols}


def _with_full_names(words: list[str], protocols: dict[str, type[Protocol]]) -> list[str]:
    """The words with ``--epochs`` as ``--linear.epochs``, where one protocol alone has such an option."""
    full = []
    for word in words:
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        owners = [owner for owner, kind in protocols.items() if name in kind.__dataclass_fields__]
        if option.startswith("--") and len(owners) > 1:
            raise UserError(f"{option} is an option of {' and '.join(owners)}: write --{owners[0]}.{name}")
        full.append(f"--{owners[0]}.{name}{equals}{value}" if option.startswith("--") and owners else word)
    return full


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options, protocols = parse(sys.argv[1:] if argv is None else argv)
    for run in (*options.runs, *options.weights):
        if not run.exists():
            raise UserError(f"{run} does not exist: give a run folder or one of its checkpoints")
    for subject in _subjects(options):
        for name, protocol in protocols.items():
            if not protocol.several_classes:
                subject.data.require_one_class(name)
            start = time.monotonic()
            result = protocol.measure(subject)
            print(protocol.report(subject, result))
            print(write_result(name, protocol, subject, result, time.monotonic() - start))
            forget(protocol, subject)
    return 0


def _subjects(options: Options) -> Iterator[Subject]:
    """Subjects of the command line, each opened when the one before is measured."""
    for run in options.runs:
        yield open_subject(run, options.data, options.device, options.workers)
    layout = chosen_layout(options.layout)
    for path in options.weights:
        yield open_foreign_subject(path, layout, options.data, options.device, options.workers)


if __name__ == "__main__":
    run_command(main)
