"""A free grid: one recipe with every combination of some fields' values, as a study."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

from fastssl.config import Config
from launchers.sweeps.fields import Change, assign, parse_value, resolve, split_setting, split_values
from launchers.sweeps.study import Figure, PlannedRun, Study, text_of
from pipelines.command.errors import UserError


def grid_study(recipe: str, base: Config, grid: Sequence[str]) -> Study:
    """The runs of ``--recipe RECIPE --grid FIELD=VALUE,VALUE ...``; RECIPE may be ``mine.py:my_recipe``.

    Args:
        recipe: its name.
        base: its config, at the scale of the grid.
        grid: FIELD=VALUE,VALUE each.

    Raises:
        UserError: an unknown field, or a value that does not fit.
    """
    axes: dict[str, tuple[str, list[Any]]] = {}
    for setting in grid:
        name, text = split_setting(setting, "--grid")
        path = resolve(name, base, "--grid")
        axis = path.rpartition(".")[2]
        if axis in axes:
            raise UserError(f"--grid names {axis} twice: give all its values in one list")
        if axis == "seed":
            raise UserError("--grid seed=...: give --seeds N for the seeds 0 to N - 1")
        axes[axis] = path, split_values(text)
    combinations = itertools.product(*(values for _, values in axes.values()))
    runs = [_run(base, axes, values) for values in combinations]
    twice = next((run.name for run in runs if sum(run.name == other.name for other in runs) > 1), None)
    if twice is not None:
        raise UserError(f"--grid gives the run {twice} twice: leave out the repeated value")
    return Study(
        name=f"{recipe}-grid",
        title=f"{recipe} over {', '.join(axes)}" if axes else recipe,
        about=f"A grid of the recipe {recipe}: {' '.join(grid)}",
        axes=tuple(axes),
        runs=tuple(runs),
        figures=_figures(axes),
    )


def _run(base: Config, axes: dict[str, tuple[str, list[Any]]], values: Sequence[Any]) -> PlannedRun:
    changes = [
        Change(path, value, f"--grid {axis}={text_of(value)}")
        for (axis, (path, _)), value in zip(axes.items(), values, strict=True)
    ]
    config = assign(base, changes)
    named = [(axis, text_of(value)) for axis, value in zip(axes, values, strict=True)]
    return PlannedRun(
        name=file_name("-".join(f"{axis}-{value}" for axis, value in named)) or base.recipe,
        config=config,
        values={
            axis: value if isinstance(value, int | float) else text
            for (axis, text), value in zip(named, values, strict=True)
        },
        row=", ".join(f"{axis}={value}" for axis, value in named) or base.recipe,
        paper=base.paper if config.experiment == base.experiment else None,
    )


def _figures(axes: dict[str, tuple[str, list[Any]]]) -> tuple[Figure, ...]:
    """Accuracy over the first axis of several numbers; the next axis tells the lines apart."""
    numeric = [
        axis
        for axis, (_, values) in axes.items()
        if len(values) > 1 and all(isinstance(value, int | float) for value in values)
    ]
    if not numeric:
        return ()
    x = numeric[0]
    others = [axis for axis in axes if axis != x and len(axes[axis][1]) > 1]
    positive = [value for value in axes[x][1] if value > 0]
    wide = len(positive) == len(axes[x][1]) and max(positive) >= 8 * min(positive)
    return tuple(
        Figure(title=f"{title} over {x}", x=x, y=y, series=others[0] if others else None, log_x=wide)
        for title, y in (("Linear top-1", "linear.top1"), ("kNN top-1", "knn_top1"))
    )


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-")


def applied(study: Study, settings: Sequence[str], data: str) -> Study:
    """A study with fields of all its runs set: ``--set FIELD=VALUE ...`` and ``--data WHERE``.

    The papers' numbers go where the experiment is no longer the paper's.

    Raises:
        UserError: a run has no such field, or refuses the value.
    """
    runs = []
    for run in study.runs:
        changes = []
        for setting in settings:
            name, text = split_setting(setting, "--set")
            changes.append(Change(resolve(name, run.config, "--set"), parse_value(text), f"--set {setting}"))
        if data:
            changes.append(Change("data", data, f"--data {data}"))
        config = assign(run.config, changes)
        same = config.experiment == run.config.experiment
        runs.append(dataclasses.replace(run, config=config, paper=run.paper if same else None))
    return dataclasses.replace(study, runs=tuple(runs))
