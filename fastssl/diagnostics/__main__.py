"""Draw what encoders are like: python -m fastssl.diagnostics NAME RUN_OR_CHECKPOINT [RUN_OR_CHECKPOINT]

Weights of other libraries and codes: python -m fastssl.diagnostics NAME [RUN] --weights FILE --data WHERE
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import tyro

from fastssl.diagnostics import DIAGNOSTICS
from fastssl.diagnostics.diagnostic import Diagnostic, find_diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.diagnostics.opened_weights import OpenedWeights
from fastssl.evaluate.result_name import ResultName, changed_options, data_name, file_part
from fastssl.evaluate.subject_options import SubjectOptions
from fastssl.run.versions import git_commit, versions
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated
from pipelines.files.atomic import write_atomically, write_json

_PROG = "python -m fastssl.diagnostics"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(SubjectOptions):
    """Draw what encoders are like; picture and numbers go to diagnostics/ of the first run's folder."""

    data: str = ""
    """Labeled images; left out, those of the first run's training."""


def parse(argv: list[str]) -> tuple[str, Options, Diagnostic]:
    """The diagnostic of a command line, its runs and its options.

    Raises:
        UserError: no such diagnostic or option, or a wrong number of runs.
    """
    words = join_repeated(argv)
    known = f"Diagnostics: {', '.join(DIAGNOSTICS)}; with one of them, --help shows its options."
    if not words or words[0].startswith("-"):
        if not {"--help", "-h"} & set(words):
            raise UserError(
                f"give a diagnostic first, of {', '.join(DIAGNOSTICS)}: {_PROG} --help tells more"
            )
        read_options(Options, f"{_PROG} NAME", ["--help"], description=f"{Options.__doc__}\n\n{known}")
    name = words.pop(0)
    kind = find_diagnostic(name)
    field = ("diagnostic", kind, dataclasses.field(default=kind()))
    options = dataclasses.make_dataclass("Options", [field], bases=(Options,), frozen=True, kw_only=True)
    prog = f"{_PROG} {name}"
    description = f"{kind.__doc__}\n\n{known}"
    flat = (tyro.conf.OmitArgPrefixes,)  # --images, not --diagnostic.images
    found: Any = read_options(options, prog, words, description=description, config=flat)
    count = len(found.runs) + len(found.weights)
    if not kind.fewest_runs <= count <= kind.most_runs:
        counts = sorted({kind.fewest_runs, kind.most_runs})
        wanted = " or ".join(map(str, counts))
        raise UserError(f"{name} takes {wanted} run{'s' * (counts != [1])}, not {count}: {prog} RUN ...")
    found.check_encoders()
    return name, found, found.diagnostic


def result_name(name: str, diagnostic: Diagnostic, runs: Sequence[OpenedRun]) -> ResultName:
    """The name of a result, which tells options, second run, checkpoint and data."""
    changed = [changed_options(diagnostic)] if changed_options(diagnostic) else []
    for other in runs[1:]:
        digest = hashlib.blake2b(str(other.folder.resolve()).encode(), digest_size=4).hexdigest()
        parts = [file_part(part, "_") for part in (other.folder.resolve().name, other.checkpoint) if part]
        changed.append(f"with={'_'.join(parts)}_{digest}")
    first, data = runs[0], ""
    if diagnostic.reads_images and not first.subject.own_data:
        data = data_name(first.subject.where, first.subject.data.fingerprints)
    return ResultName(
        protocol=name, options="+".join(changed), checkpoint=file_part(first.checkpoint), data=data
    )


def main(argv: list[str] | None = None) -> int:
    """The command."""
    name, options, diagnostic = parse(sys.argv[1:] if argv is None else argv)
    runs = _opened(options)
    start = time.monotonic()
    result, picture = diagnostic.measure(runs)
    settings = dataclasses.asdict(diagnostic) | result.get("settings", {})
    values = {
        "diagnostic": name,
        "runs": [run.about for run in runs],
        **(_about_images(runs[0]) if diagnostic.reads_images else {}),
        **result,
        "settings": settings,
        "cost": {"seconds": round(time.monotonic() - start, 2)},
        "versions": versions(("torch", "numpy")),
        "git_commit": git_commit(),
    }
    path = runs[0].folder / "diagnostics" / f"{result_name(name, diagnostic, runs)}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, values)
        write_atomically(path.with_name(f"{path.stem}.png"), picture)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): free some space, or mend it") from None
    print(diagnostic.report(result))
    print(path)
    print(path.with_name(f"{path.stem}.png"))
    return 0


def _opened(options: Options) -> list[OpenedRun]:
    """The runs, then the foreign weights, each on the images of the first."""
    opened: list[OpenedRun] = []
    for where in (*options.runs, *options.weights):
        more: dict[str, Any] = {
            **{"where": where, "data": options.data, "device": options.device, "workers": options.workers},
            "beside": opened[0] if opened else None,
        }
        is_run = len(opened) < len(options.runs)
        opened.append(OpenedRun(**more) if is_run else OpenedWeights(**more, layout=options.foreign_layout))
    return opened


def _about_images(run: OpenedRun) -> dict[str, Any]:
    subject = run.subject
    return {
        "data": subject.where,
        "train_images": len(subject.data.train.index),
        "test_images": len(subject.data.test.index),
        "test_images_are": subject.data.test_images_are,
        "fingerprints": subject.data.fingerprints,
        "precision": subject.feature_config.precision,
        "view": dataclasses.asdict(subject.feature_config.spec),
    }


if __name__ == "__main__":
    run_command(main)
