"""A free grid: one recipe with every combination of some fields' values, as a study."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fastssl.config import Config
from launchers.sweeps.fields import Change, assign, read_changes, resolve, split_setting, split_values
from launchers.sweeps.study import Figure, PlannedRun, Study, text_of
from pipelines.command.errors import UserError

_STUDY_LETTERS, _NAME_LETTERS = 60, 150  # most of a study's name, of a run's


def grid_study(recipe: str, base: Config, grid: Sequence[str], zipped: Sequence[str] = ()) -> Study:
    """The runs of ``--recipe RECIPE --grid FIELD=VALUE,VALUE ...``; RECIPE may be ``mine.py:my_recipe``.

    Args:
        base: its config, at the scale of the grid.
        grid: FIELD=VALUE,VALUE each: every combination.
        zipped: the same, with as many values each: these change together.

    Raises:
        UserError: an unknown field, or a value that does not fit.
    """
    axes: dict[str, _Axis] = {}
    for option, settings in (("--grid", grid), ("--zip", zipped)):
        for setting in settings:
            axis = _axis(setting, option, base)
            if axis.name in axes:
                raise UserError(f"{option} names {axis.name} twice: give all its values in one list")
            axes[axis.name] = axis
    coupled = [axis for axis in axes.values() if axis.option == "--zip"]
    lengths = {axis.name: len(axis.values) for axis in coupled}
    if len({*lengths.values()}) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UserError(f"--zip takes as many values of each field: {told}")
    groups = [[axis] for axis in axes.values() if axis.option == "--grid"] + ([coupled] if coupled else [])
    choices = itertools.product(*(range(len(group[0].values)) for group in groups))
    combinations = [
        {axis: axis.values[index] for group, index in zip(groups, chosen, strict=True) for axis in group}
        for chosen in choices
    ]
    runs = [_run(base, values) for values in combinations]
    twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    if twice:
        raise UserError(f"--grid gives the run {twice[0]} twice: leave out the repeated value")
    return Study(
        name=_study_name(recipe, [*axes]),
        title=f"{recipe} over {', '.join(axes)}" if axes else recipe,
        about=f"A grid of the recipe {recipe}: {' '.join([*grid, *zipped])}",
        axes=tuple(axes),
        runs=tuple(runs),
        figures=_figures(list(axes.values())),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Axis:
    """A field that varies."""

    name: str
    path: str
    values: Sequence[Any]
    option: str


def _axis(setting: str, option: str, base: Config) -> _Axis:
    name, text = split_setting(setting, option)
    path = resolve(name, base, option)
    axis = path.rpartition(".")[2]
    if axis == "seed":
        raise UserError(f"{option} seed=...: give --seeds N for the seeds 0 to N - 1")
    return _Axis(name=axis, path=path, values=split_values(text), option=option)


def _run(base: Config, values: Mapping[_Axis, Any]) -> PlannedRun:
    changes = [
        Change(axis.path, value, f"{axis.option} {axis.name}={text_of(value)}")
        for axis, value in values.items()
    ]
    config = assign(base, changes)
    named = [(axis.name, text_of(value)) for axis, value in values.items()]
    return PlannedRun(
        name=file_name("-".join(f"{name}-{value}" for name, value in named)) or base.recipe,
        config=config,
        values={
            axis.name: value if isinstance(value, int | float) else text_of(value)
            for axis, value in values.items()
        },
        row=", ".join(f"{name}={value}" for name, value in named) or base.recipe,
        paper=base.paper if config.experiment == base.experiment else None,
    )


def _study_name(recipe: str, axes: Sequence[str]) -> str:
    """Recipe and varied fields, short enough for 80 columns: ``quickstart-by-base-lr-temperature``."""
    for kept in range(len(axes), 0, -1):
        more = f"-and-{len(axes) - kept}-more" if kept < len(axes) else ""
        name = file_name(f"{recipe}-by-{'-'.join(axes[:kept])}") + more
        if len(name) <= _STUDY_LETTERS or kept == 1:
            return name
    return file_name(recipe)


def _figures(axes: Sequence[_Axis]) -> tuple[Figure, ...]:
    """Accuracy over the first axis of several numbers, or else of several values; lines by the next axis."""
    varied = [axis for axis in axes if len(axis.values) > 1]
    numeric = [axis for axis in varied if all(isinstance(value, int | float) for value in axis.values)]
    if not varied:
        return ()
    x = (numeric or varied)[0]
    others = [axis.name for axis in varied if axis is not x and "--grid" in (axis.option, x.option)]
    wide = x in numeric and min(x.values) > 0 and max(x.values) >= 8 * min(x.values)
    return tuple(
        Figure(title=f"{title} over {x.name}", x=x.name, y=y, series=(*others, None)[0], log_x=wide)
        for title, y in (("Linear top-1", "linear.top1"), ("kNN top-1", "knn_top1"))
    )


def file_name(text: str) -> str:
    """A text as the name of a file; a long one keeps its begin, and is told apart by a digest."""
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-")
    if len(name) <= _NAME_LETTERS:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: _NAME_LETTERS - 9]}-{digest}"


def applied(study: Study, settings: Sequence[str], data: str, eval_data: str = "") -> Study:
    """A study with fields of all its runs set: ``--set FIELD=VALUE ...``, ``--data`` and ``--eval-data``.

    The papers' numbers go where the experiment is no longer the paper's.

    Raises:
        UserError: a run has no such field, or refuses the value.
    """
    runs = []
    for run in study.runs:
        config = assign(run.config, read_changes(settings, data, run.config))
        paper = run.paper if config.experiment == run.config.experiment else None
        runs.append(dataclasses.replace(run, config=config, paper=paper, eval_data=eval_data))
    return dataclasses.replace(study, runs=tuple(runs))
