"""sweep.json: what a sweep consists of, as its own commands and the report read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fastssl.evaluate.result_name import ResultName
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import is_number, read_object
from launchers.sweeps.task import known_tasks
from pipelines.command.errors import UserError

VERSION = 2  # of sweep.json; raise it when an entry changes its name or meaning


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    """True for the name of a file in its folder."""
    return (
        isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and value.isprintable()
    )


def _is_value(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _object_of(required: Sequence[str] = (), **fields: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check of objects: of their required fields, and of the types of those named."""
    return lambda value: (
        isinstance(value, dict)
        and all(name in value for name in required)
        and all(fits(value[name]) for name, fits in fields.items() if name in value)
    )


def _is_paper(value: Any) -> bool:
    pair = _list_of(_is_value)
    named = _object_of(("title", "place", "results"), title=_is_text, place=_is_text, results=_list_of(pair))
    return value is None or (
        named(value) and all(len(each) == 2 and is_number(each[1]) for each in value["results"])
    )


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "study": _is_text,
    "folder": _is_text,
    "command": _list_of(_is_text),
    "axes": _list_of(_is_text),
    "figures": _list_of(_object_of(("x", "y"), x=_is_text, y=_is_text)),
    "runs": _list_of(
        _object_of(
            ("name",),
            name=_is_name,
            row=_is_text,
            values=lambda values: isinstance(values, dict) and all(map(_is_value, values.values())),
            paper=_is_paper,
            evaluations=_list_of(_is_name),
            checkpoints=_list_of(lambda epoch: type(epoch) is int),
            data=_is_text,
            eval_data=_is_text,
            transfer=_list_of(_is_name),
            transfer_data=lambda places: isinstance(places, dict) and all(map(_is_text, places.values())),
            trained=lambda trained: isinstance(trained, bool),
            tasks=_list_of(
                _object_of(
                    ("result", "words", "images", "where"),
                    result=_is_name,
                    words=_list_of(_is_text),
                    images=_is_text,
                    where=_is_text,
                    anchor=_is_name,
                )
            ),
        )
    ),
}


def read_plan(folder: SweepFolder) -> dict[str, Any]:
    """sweep.json.

    Raises:
        UserError: the folder is no sweep's, or the file is damaged or of another version.
    """
    remedy = "put it back, or start a new sweep folder"
    if not folder.plan.exists():
        raise UserError(f"{folder.path} is no sweep folder (no sweep.json): give one of launchers.sweep")
    plan = read_object(folder.plan, remedy)
    if plan.get("version") != VERSION:
        raise UserError(
            f"{folder.plan} is of version {plan.get('version')}, this code reads version {VERSION}: "
            f"use the code that wrote it, or start a new sweep folder"
        )
    fault = next((name for name, fits in _FIELDS.items() if name in plan and not fits(plan[name])), None)
    if fault or not {"runs", "study"} <= plan.keys():
        raise UserError(f"{folder.plan} is damaged ({fault or 'runs or study missing'}): {remedy}")
    return plan


def planned_results(run: Mapping[str, Any]) -> list[str]:
    """Names of all results of a run of sweep.json.

    Those of its last weights, of kept checkpoints (``linear-epoch-0050``), on other images whose place is
    known (``linear@cifar100``), and of its tasks.
    """
    protocols, places = run.get("evaluations", ()), run.get("transfer_data", {})
    kept = [
        str(ResultName(protocol=protocol, checkpoint=f"epoch-{epoch:04d}"))
        for epoch in run.get("checkpoints", ())
        for protocol in protocols
    ]
    transfers = [result for result in run.get("transfer", ()) if ResultName.parse(result).data in places]
    return [*protocols, *kept, *transfers, *known_tasks(run)]


def planned_jobs(folder: SweepFolder, plan: Mapping[str, Any]) -> list[Job]:
    """The jobs of a plan, for asking about them: each run's training, its evaluations, then its tasks."""
    return [job for run in plan["runs"] for job in run_jobs(folder, run)]


def run_jobs(folder: SweepFolder, run: Mapping[str, Any]) -> Iterator[Job]:
    """The jobs of a run of sweep.json."""
    tasks, usual, places = known_tasks(run), run.get("eval_data", ""), run.get("transfer_data", {})
    for result in ("", *planned_results(run)):
        task = tasks.get(result)
        where = task["where"] if task else places.get(ResultName.parse(result).data, "")
        yield Job(
            sweep=folder.path,
            run=run["name"],
            data=run.get("data", ""),
            eval_data=where or usual,
            evaluation=result,
            task=tuple(task["words"]) if task else (),
            trained=run.get("trained", True),
            anchor=task.get("anchor", "") if task else "",
        )
