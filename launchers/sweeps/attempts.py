"""The attempts of a job: one line at the start, another at the end, so that a lost node leaves a trace."""

from __future__ import annotations

import datetime
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from pipelines.command.errors import UserError

# lost: no word of its end (the node or the whole job was killed)
Outcome = Literal["running", "finished", "interrupted", "mistake", "crashed", "lost"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a job.

    Attributes:
        number: from 1, over all submissions.
        job_id: of the submission it belongs to.
        steps: of training done before it began.
        outcome: "running" for the last one while nothing says that it ended.
        status: exit status; negative for the signal that killed it.
        error: the last line of what it printed, if it failed.
    """

    number: int
    job_id: str
    host: str
    pid: int
    steps: int
    started: str
    outcome: Outcome = "running"
    status: int | None = None
    error: str = ""
    ended: str = ""


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


_TYPES = get_type_hints(Attempt) | {"outcome": str}
_FIRST = {"number", "job_id", "host", "pid", "steps", "started"}  # fields of the line at the start


def read_attempts(path: Path, job_id: str = "") -> list[Attempt]:
    """All attempts, oldest first, or those of a submission.

    One that was followed by another without an end is ``lost``. Damaged lines are left out: see
    ``check_attempts``.
    """
    found: dict[int, dict[str, Any]] = {}
    for values in _lines(path):
        if values is not None:
            found.setdefault(values["number"], {}).update(values)
    attempts = [Attempt(**values) for values in found.values() if values.keys() >= _FIRST]
    return [
        attempt
        if attempt.outcome != "running" or attempt is attempts[-1]
        else replace(attempt, outcome="lost")
        for attempt in attempts
        if job_id in ("", attempt.job_id)
    ]


def check_attempts(path: Path) -> None:
    """Check that every line can be read; the last one may have been cut by a crash.

    Raises:
        UserError: a line is damaged.
    """
    lines = list(_lines(path))
    damaged = [number for number, values in enumerate(lines, 1) if values is None]
    cut = lines[-1:] == [None] and path.is_file() and not path.read_bytes().endswith(b"\n")
    if damaged[: len(damaged) - cut]:
        raise UserError(f"{path} is damaged (line {damaged[0]}): its other attempts count; delete that line")


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The object of each line; None for a damaged one."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError:
        yield None
        return
    for line in lines:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        whole = (
            isinstance(values, dict)
            and "number" in values
            and all(isinstance(value, _TYPES.get(name, ())) for name, value in values.items())
            and values.get("outcome", "lost") in get_args(Outcome)
        )
        yield values if whole else None


def begin(path: Path, job_id: str, steps: int) -> int:
    """Write down that an attempt begins; returns its number."""
    number = 1 + max((values["number"] for values in _lines(path) if values is not None), default=0)
    values = {"job_id": job_id, "host": socket.gethostname(), "pid": os.getpid(), "steps": steps}
    _append(path, {"number": number, "started": now(), **values})
    return number


def end(path: Path, number: int, outcome: Outcome, status: int | None, error: str = "") -> None:
    """Write down how an attempt ended."""
    _append(
        path, {"number": number, "ended": now(), "outcome": outcome, "status": status, "error": error[:1000]}
    )


def _append(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")
        file.flush()
        os.fsync(file.fileno())


IDLE_INTERRUPTIONS = 10  # of a training in a row, each before its next step
IDLE_LOSSES = 10  # the same of nodes, by the cluster's word: it may start a job on the lost node again


def why_not_again(
    attempts: list[Attempt],
    job_id: str,
    steps: int,
    retries: int,
    interruptions: int = IDLE_INTERRUPTIONS,
) -> str | None:
    """Reason not to start a job again, or None if it may be.

    Per submission, ``retries`` crashes are started again, and losses as long as the run gets further: a
    site that preempts without a signal leaves losses only, and they are no fault of the run.

    Args:
        job_id: of the submission.
        steps: of training done by now.
        retries: restarts of a failed job.
        interruptions: in a row without a step of progress; an evaluation has no steps.
    """
    mine = [attempt for attempt in attempts if attempt.job_id == job_id]
    if mine and mine[-1].outcome == "mistake":
        return mine[-1].error
    crashes = [attempt for attempt in mine if attempt.outcome == "crashed"]
    if len(crashes) > retries:
        return f"crashed {len(crashes)} times: {crashes[-1].error}"
    idle: list[Attempt] = []
    for attempt in reversed(mine):
        if attempt.outcome not in ("lost", "running", "interrupted") or attempt.steps != steps:
            break
        idle.append(attempt)
    interrupted = sum(attempt.outcome == "interrupted" for attempt in idle)
    nodes = sum(attempt.outcome == "lost" and bool(attempt.ended) for attempt in idle)
    if len(idle) - interrupted - nodes > retries or nodes > IDLE_LOSSES:
        return f"lost {len(idle)} times without getting further (the node failed, or ran out of memory)"
    if interrupted > interruptions:
        return (
            f"interrupted {interrupted} times without getting further: give it more time "
            "(--time, for an evaluation --eval-time)"
        )
    return None
