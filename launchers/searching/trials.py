"""Trials of a search as its table has them, and the files that tell of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launchers.searching.definition import Search
from launchers.searching.folder import SearchFolder
from launchers.searching.halving import Standing, best_trial
from launchers.searching.journal import Stretch
from launchers.sweeps.prepare import write_config
from launchers.sweeps.study import PlannedRun, Study, text_of
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json


@dataclass(frozen=True)
class Trial:
    """A line of the table."""

    trial: str
    values: dict[str, Any]
    """By path."""
    epoch: float | None
    """Epochs at its last rung; None before the first."""
    metric: float | None
    """At that rung."""
    state: str
    """training; paused: not among the best so far; finished: trained to its end; diverged, failed."""
    error: str = ""


def standing_of(stretches: Sequence[Stretch], search: Search) -> Standing:
    """Progress of the trials."""
    values: dict[str, dict[int, float]] = {}
    reached: dict[str, int] = {}
    for stretch in stretches:
        reached[stretch.run] = max(stretch.rung, reached.get(stretch.run, 0))
        if stretch.state in ("ended", "diverged"):
            values.setdefault(stretch.run, {})[stretch.rung] = search.better(stretch.value)
    under_way = sum(stretch.state == "open" for stretch in stretches)
    return Standing(values=values, reached=reached, under_way=under_way)


def trials_of(stretches: Sequence[Stretch], search: Search) -> list[Trial]:
    """The trials, in the order in which they were drawn."""
    found = []
    for run in dict.fromkeys(stretch.run for stretch in stretches):
        own = sorted((each for each in stretches if each.run == run), key=lambda each: each.rung)
        ended = [each for each in own if each.state == "ended"]
        last = own[-1]
        state = {"open": "training", "ended": "paused"}.get(last.state, last.state)
        if last.state == "ended" and last.rung == len(search.rungs) - 1:
            state = "finished"
        epoch, metric = (search.rungs[ended[-1].rung], ended[-1].value) if ended else (None, None)
        values = dict(last.values)
        found.append(Trial(run, values, epoch=epoch, metric=metric, state=state, error=last.error))
    return found


def best_of(stretches: Sequence[Stretch], search: Search) -> str | None:
    """The best trial at the highest rung that any has passed; None before one has."""
    return best_trial(standing_of(stretches, search).values)


def as_study(stretches: Sequence[Stretch], search: Search) -> Study:
    """The trials as the runs of a study, for sweep.json: status and report read it."""
    trials, reached = trials_of(stretches, search), standing_of(stretches, search).reached
    measure = search.measure
    axes = {each.path: each.axis for each in search.space}
    if len({*axes.values()}) < len(axes):
        axes = {path: path for path in axes}
    return Study(
        name=search.name,
        title=f"Search of {search.recipe} over {', '.join(axes.values())}",
        about=f"{search.metric} by {' '.join(f'{each.path}={each.text}' for each in search.space)}",
        axes=tuple(axes.values()),
        runs=tuple(
            PlannedRun(
                name=trial.trial,
                config=search.config(trial.values),
                values={axes[path]: _plain(value) for path, value in trial.values.items()},
                row=trial.trial,
                evaluations=(measure.protocol,) if measure and measure.protocol else (),
                eval_data=measure.images if measure else "",
                tasks=measure.at(*search.rungs[: reached[trial.trial] + 1]) if measure else (),
            )
            for trial in trials
            if _fits(trial, search)
        ),
    )


def write_results(
    folder: SearchFolder, search: Search, stretches: Sequence[Stretch], command: Sequence[str]
) -> None:
    """Write search.json, and the config of the best trial."""
    trials, best = trials_of(stretches, search), best_of(stretches, search)
    table = [asdict(trial) for trial in trials]
    write_json(folder.search, {**search.as_json(), "command": list(command), "best": best, "table": table})
    if best is None:
        return
    config = search.config(next(trial.values for trial in trials if trial.trial == best))
    write_config(folder.best, config)


def table_lines(trials: Sequence[Trial], search: Search) -> list[str]:
    """The table as text, the best trial first."""
    names = [each.axis for each in search.space]
    rows = [["trial", *names, "epoch", search.metric, "state"]]
    for trial in sorted(trials, key=lambda trial: _rank(trial, search)):
        values = [text_of(trial.values[each.path]) for each in search.space]
        epoch = "" if trial.epoch is None else f"{trial.epoch:g}"
        metric = "" if trial.metric is None else f"{trial.metric:.4g}"
        state = f"{trial.state}: {trial.error}" if trial.error else trial.state
        rows.append([trial.trial, *values, epoch, metric, state])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=True)), row[-1]])
        for row in rows
    ]


def _rank(trial: Trial, search: Search) -> tuple[float, float]:
    return -(trial.epoch or 0.0), math.inf if trial.metric is None else -search.better(trial.metric)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else text_of(value)


def _fits(trial: Trial, search: Search) -> bool:
    """True if the search's config takes the trial's values, which Optuna drew one by one."""
    try:
        search.config(trial.values)
    except UserError:
        return False
    return True
