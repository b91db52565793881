"""State of a protocol's training that is not finished: kept in a file of the run folder, and resumed from."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastssl.evaluate.features import FeatureConfig
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.result import result_name
from fastssl.evaluate.subject import Subject
from fastssl.evaluate.training_setting import TrainingSetting
from fastssl.run import checkpoint
from fastssl.run.interrupt import Interrupt
from pipelines.command.errors import UserError

_SHARE = 0.02  # of a training's time: the most that saving may take
_LEAST_SECONDS = 0.1  # between two savings


def resume_file(protocol: Protocol, subject: Subject) -> Path | None:
    """File of a measurement that is not finished, ``RUN/unfinished/NAME.pt``; None: the subject has no run.

    NAME is that of the result.
    """
    if subject.run is None:
        return None
    name = result_name(type(protocol).__name__.lower(), protocol, subject)
    return subject.run / "unfinished" / f"{name}.pt"


def forget(protocol: Protocol, subject: Subject) -> None:
    """Remove what was kept of a measurement whose result is written."""
    path = resume_file(protocol, subject)
    if path is not None and path.exists():
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def training_facts(subject: Subject, views: FeatureConfig, setting: TrainingSetting, seed: int) -> str:
    """All that decides a training, as JSON; ``views`` has the distribution of the training views."""
    facts = {
        "weights": subject.digest,
        "images": subject.data.train.index.fingerprint,
        "view": asdict(views.spec),
        "precision": views.precision,
        "setting": asdict(setting),
        "seed": seed,
    }
    return json.dumps(facts, sort_keys=True)


class Resumable(Interrupt):
    """A training that can be resumed. Entered, it catches SIGTERM and Ctrl-C, and stops between two steps.

    Args:
        path: file of the state; None: nothing is kept.
        facts: all that decides the training; a state of another one is not resumed from.
    """

    def __init__(self, path: Path | None, facts: str) -> None:
        super().__init__()
        self._path, self._facts = path, facts
        self._saved_at, self._pause = time.monotonic(), _LEAST_SECONDS

    def restored(self) -> dict[str, Any] | None:
        """State that was saved last, on the CPU; None where there is none, or one of another training."""
        if self._path is None or not self._path.exists():
            return None
        try:
            state = checkpoint.load(self._path)
        except UserError as error:
            print(f"{error.args[0].partition(':')[0]}: trained anew", file=sys.stderr)
            return None
        if state.get("facts") != self._facts:
            print(f"{self._path} is of other weights, images or settings: trained anew", file=sys.stderr)
            return None
        return state

    def is_due(self) -> bool:
        """True if the state is to be saved now: after some time, and when the process is asked to stop."""
        due = time.monotonic() - self._saved_at >= self._pause
        return self._path is not None and (due or bool(self.signal))

    def save(self, state: dict[str, Any]) -> None:
        """Write the state.

        Raises:
            UserError: it cannot be written; the one before stands.
        """
        if self._path is None:
            return
        start = time.monotonic()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(self._path, {"facts": self._facts, **state})
        self._saved_at = time.monotonic()
        self._pause = max(_LEAST_SECONDS, (self._saved_at - start) / _SHARE)

    def stop_if_asked(self, step: int, total: int) -> None:
        """End the process if a signal has asked for it, with a line on where the training stands."""
        if self.signal:
            kept = "; the same command resumes it" if self._path is not None else ""
            print(f"stopped after step {step} of {total}{kept}", file=sys.stderr)
            raise SystemExit(self.exit_status)
