"""results.csv: a line per run with every config field that varies and every metric, as pandas reads it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from launchers.reporting.results import Sweep


def results_csv(sweep: Sweep) -> str:
    """The file's text. Metrics are the results of ``eval/*.json`` and each last value while training."""
    configs = [run.config for run in sweep.runs]
    axes = sweep.about.get("axes", [])
    fields = [
        name
        for name in dict.fromkeys(name for config in configs for name in config if name not in axes)
        if len({json.dumps(config.get(name)) for config in configs if config}) > 1
    ]
    results = sorted({name for run in sweep.runs for name in run.results})
    metrics = sorted({name for run in sweep.runs for name in run.last_metrics} - {*results})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "row", "status", "attempts", *axes, *fields, *results, *metrics])
    for run in sweep.runs:
        values: list[Any] = [run.values.get(axis) for axis in axes]
        values += [run.config.get(name) for name in fields]
        values += [run.results.get(name) for name in results]
        values += [run.last_metrics.get(name) for name in metrics]
        writer.writerow([run.name, run.row, run.status, len(run.attempts), *values])
    return file.getvalue()
