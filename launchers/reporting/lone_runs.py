"""Run folders of no sweep as one sweep, for a report over any runs and foreign weights.

Runs of one recipe and one config are a row, whatever their seeds; a row's name has the fields in which runs
of its recipe differ.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastssl.run.metrics import read_metrics
from launchers.reporting.results import Sweep
from launchers.reporting.run_result import (
    RunResult,
    flat,
    read_evaluations,
    read_summary_and_config,
    run_status,
)
from launchers.sweeps.cost import is_data_of
from launchers.sweeps.study import text_of
from pipelines.command.errors import UserError

_WEIGHTS = "weights.json"  # of a folder of results on foreign weights
_EXPERIMENT = "experiment."
_SEED = "experiment.seed"
_NO_OTHER_RUN = {"seed", "precision", "accumulation_steps"}  # fields that a paper's run may have otherwise


def is_run(folder: Path) -> bool:
    """True for a run folder, and for the folder of results on foreign weights."""
    return any((folder / name).is_file() for name in ("config.json", _WEIGHTS))


def read_runs(named: Mapping[str, Path], into: Path) -> Sweep:
    """Read run folders, by their names, as a sweep whose axis is the recipe; the report goes ``into``."""
    damaged: list[str] = []
    runs, papers, configs = [], [], {}
    for name, folder in named.items():
        summary, config = read_summary_and_config(folder, damaged)
        paper = _paper(folder / "config.json") if config else None
        run = _read_run(name, folder, summary, config, damaged)
        runs.append(dataclasses.replace(run, paper=paper if is_data_of(config) else None))
        papers.append(paper)
        configs[name] = config
    labels = _row_labels(runs, configs)
    about = {
        "study": "runs",
        "title": f"Results of {len(runs)} run{'s' * (len(runs) != 1)}",
        "axes": ["recipe", "seed"],
        "runs": [{"paper": paper} for paper in papers],
    }
    rows = tuple(dataclasses.replace(run, row=labels[run.name]) for run in runs)
    return Sweep(into, about, rows, damaged)


def _read_run(
    name: str, folder: Path, summary: Mapping[str, Any], config: Mapping[str, Any], damaged: list[str]
) -> RunResult:
    """A run, its row not named yet; measured foreign weights count as finished."""
    is_foreign = (folder / _WEIGHTS).is_file()
    status, error = run_status({"status": "finished"} if is_foreign else summary, None)
    fields = flat(config.get("config"))
    recipe = str(fields.get("recipe", folder.resolve().name))
    return RunResult(
        name=name,
        row=recipe,
        values={"recipe": recipe, "seed": fields.get(_SEED)},
        status=status,
        error=error,
        steps=summary.get("total_steps"),
        summary=summary,
        metrics=read_metrics(folder / "metrics.jsonl"),
        evaluations=read_evaluations(folder, damaged, {}),
        config=fields,
        folder=folder,
    )


def _paper(path: Path) -> dict[str, Any] | None:
    """The paper's row of a config.json; None where the run is not its recipe's, but for the seed."""
    from fastssl.config_values import differing_fields, read_config  # they load torch: sweeps do without
    from fastssl.recipes import find_recipe

    try:
        config = read_config(path, execute=False)
        recipe = find_recipe(config.recipe)
    except UserError:  # of an older version, or with a recipe of the user's
        return None
    changed = {field.split(" ")[0] for field in differing_fields(recipe.experiment, config.experiment)}
    return dataclasses.asdict(recipe.paper) if recipe.paper and not changed - _NO_OTHER_RUN else None


def _row_labels(runs: Sequence[RunResult], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The row of each run by its name: the recipe, and the fields and images in which runs of it differ."""
    labels: dict[str, str] = {}
    for recipe in dict.fromkeys(run.row for run in runs):
        own = [run for run in runs if run.row == recipe]
        fields = dict.fromkeys(field for run in own for field in run.config if field.startswith(_EXPERIMENT))
        varied = [
            field
            for field in fields
            if field != _SEED and len({json.dumps(run.config.get(field)) for run in own}) > 1
        ]
        images = {json.dumps(configs[run.name].get("data"), sort_keys=True) for run in own}
        for run in own:
            told = [f"{field.removeprefix(_EXPERIMENT)} {text_of(run.config.get(field))}" for field in varied]
            told += [f"trained on {run.config.get('machine.data')}"] * (len(images) > 1)
            labels[run.name] = ", ".join([recipe, *told])
    return labels
