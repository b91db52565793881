"""sweep.json: what a sweep consists of, as its own commands and the report read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastssl.evaluate.result_name import ResultName
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from pipelines.command.errors import UserError

VERSION = 2  # of sweep.json; raise it when an entry changes its name or meaning


def read_plan(folder: SweepFolder) -> dict[str, Any]:
    """sweep.json.

    Raises:
        UserError: the folder is no sweep's, or the file is damaged or of another version.
    """
    try:
        plan = json.loads(folder.plan.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{folder.path} is no sweep folder (no sweep.json): give one of launchers.sweep"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder.plan}: {error}") from None
    if not isinstance(plan, dict) or not isinstance(plan.get("runs"), list):
        raise UserError(f"{folder.plan} is damaged: run the launchers.sweep command again")
    if plan.get("version") != VERSION:
        raise UserError(
            f"{folder.plan} is of version {plan.get('version')}, this code reads version {VERSION}: "
            f"use the code that wrote it, or start a new sweep folder"
        )
    return plan


def result_names(evaluations: Sequence[str], checkpoints: Sequence[int]) -> list[str]:
    """Names of a run's results: of its last weights, then of the kept checkpoints (``linear-epoch-0050``)."""
    kept = [
        str(ResultName(protocol=protocol, checkpoint=f"epoch-{epoch:04d}"))
        for epoch in checkpoints
        for protocol in evaluations
    ]
    return [*evaluations, *kept]


def planned_results(run: Mapping[str, Any]) -> list[str]:
    """``result_names`` of a run of sweep.json."""
    return result_names(run.get("evaluations", ()), run.get("checkpoints", ()))


def planned_jobs(folder: SweepFolder, plan: Mapping[str, Any]) -> list[Job]:
    """The jobs of a plan, for asking about them: each run's training, then its evaluations."""
    return [
        Job(sweep=folder.path, run=run["name"], data="", evaluation=evaluation)
        for run in plan["runs"]
        for evaluation in ("", *planned_results(run))
    ]
