"""Preview of a sweep: the table of its runs, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launchers.sweeps import cost
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.study import PlannedRun, Study

_MOST_NUMBERS = 3  # of the paper, in a line
_HEADS = ("run", "epochs", "batch", "hours", "paper", "evaluations")


def outlook(
    folder: SweepFolder, study: Study, runs: Sequence[PlannedRun], evaluations: int, devices: int, unit: str
) -> Iterator[str]:
    """Lines of text.

    Args:
        folder: the sweep's; runs of its neighbors tell the speed.
        runs: the chosen ones of the study.
        evaluations: count of their evaluations.
        devices: per run.
        unit: name of an hour of one device: GPU-hours.
    """
    yield study.title
    yield f"{len(runs)} runs into {folder.path}"
    yield f"{evaluations} evaluations of them"
    yield ""
    measured = cost.measured(folder.path.parent.glob("*/runs/*"))
    hours = [cost.run_hours(run.config, measured) if run.trained else 0.0 for run in runs]
    rows = [_HEADS, *(_row(run, known) for run, known in zip(runs, hours, strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    known = [value for value in hours if value is not None]
    if any(known):
        yield f"cost: {devices * sum(known):.1f} {unit} for {len(known)} runs, by images/s measured here"
    if len(known) < len(runs):
        yield f"cost of {len(runs) - len(known)} runs: unknown until a run of their kind was measured here"


def _row(run: PlannedRun, hours: float | None) -> tuple[str, ...]:
    experiment = run.config.experiment
    published = run.paper.results if run.paper else ()
    tasks = {task.result for task in run.tasks}
    results = [result for result in run.results if result not in tasks]
    results += [f"{len(run.results) - len(results)} tasks"] * (len(results) < len(run.results))
    paper = ", ".join(f"{metric} {number:g}" for metric, number in published[:_MOST_NUMBERS])
    paper += f" and {len(published) - _MOST_NUMBERS} more" * (len(published) > _MOST_NUMBERS)
    return (
        run.name,
        f"{experiment.epochs:g}" if run.trained else "none",
        str(experiment.batch_size),
        "unknown" if hours is None else f"{hours:.2f}",
        paper,
        " ".join(results),
    )
