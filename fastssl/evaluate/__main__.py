"""Measure encoders: python -m fastssl.evaluate PROTOCOL[,PROTOCOL...] RUN_OR_CHECKPOINT... [--data WHERE]

Weights of other libraries and codes: python -m fastssl.evaluate PROTOCOL --weights FILE... --data WHERE
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.foreign_subject import open_foreign_subject
from fastssl.evaluate.protocol import Protocol, find_protocol
from fastssl.evaluate.result import write_result
from fastssl.evaluate.resumable import forget
from fastssl.evaluate.subject import Subject, open_subject
from fastssl.evaluate.subject_options import SubjectOptions
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated


def parse(argv: list[str]) -> tuple[SubjectOptions, dict[str, Protocol]]:
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
    wanted = dataclasses.make_dataclass("Options", fields, bases=(SubjectOptions,), frozen=True, kw_only=True)
    description = (
        "Measure encoders; each result goes to eval/*.json of its run folder.\n\n"
        f"Protocols: {', '.join(PROTOCOLS)}; with one of them, --help shows its options. "
        "The last part of an option's name will do if one has it."
    )
    words = _with_full_names(words, protocols)
    found: Any = read_options(wanted, prog, words, description=description)
    if not found.runs and not found.weights:
        raise UserError(f"give a run folder, one of its checkpoints, or --weights: {prog} --help tells more")
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
    options.check_encoders()
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


def _subjects(options: SubjectOptions) -> Iterator[Subject]:
    """Subjects of the command line, each opened when the one before is measured."""
    for run in options.runs:
        yield open_subject(run, options.data, options.device, options.workers)
    for path in options.weights:
        yield open_foreign_subject(
            path, options.foreign_layout, options.data, options.device, options.workers
        )


if __name__ == "__main__":
    run_command(main)
