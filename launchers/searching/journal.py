"""Optuna's journal of a search: the trials that it drew, how far each was trained, and with which value.

A trial is one run. It is trained in stretches, from rung to rung, and each stretch is a trial of Optuna's,
with the values of the run: Optuna can end a trial once only, and so learns from a paused run what it is worth
so far. A stretch that is not the last ends as pruned, at the step of its rung.

Whoever reads or writes holds the search's lock (``launchers.searching.folder.deciding``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from launchers.searching.space import Dimension
from pipelines.command.errors import UserError

_NAME = "search"  # of Optuna's study


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A run's training from one rung to the next."""

    number: int
    """Optuna's number of it."""
    run: str
    """Name of the run: ``trial-0000``."""
    rung: int
    """The rung that it leads to, from 0."""
    values: Mapping[str, Any]
    """Values of the run's fields, by path."""
    state: Literal["open", "ended", "diverged", "failed"]
    value: float = math.nan
    """The metric at its end."""
    error: str = ""


class Journal:
    """The journal of a search.

    Args:
        path: file of the journal; it is made where it is missing.
        minimize: the metric is the better the lower it is.
        seed: of the draws; a draw depends on it and on the stretches before it, not on the process.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, path: Path, space: Sequence[Dimension], *, minimize: bool, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {each.path: _distribution(each) for each in space}
        self._space = {each.path: each for each in space}
        self._seed = seed
        cut_broken_line(path)
        try:
            self._storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held()))  # type: ignore[arg-type]
            self._study = self._open("minimize" if minimize else "maximize")
        except (ValueError, LookupError) as error:
            raise UserError(f"{path} is damaged ({error}): put it back, or choose another --out") from None

    def _open(self, direction: Literal["minimize", "maximize"]) -> optuna.Study:
        if _NAME in optuna.get_all_study_names(self._storage):
            return optuna.load_study(study_name=_NAME, storage=self._storage)
        return optuna.create_study(study_name=_NAME, storage=self._storage, direction=direction)

    def stretches(self) -> list[Stretch]:
        """All stretches, in the order in which they began."""
        found: list[Stretch] = []
        drawn = 0
        for trial in self._trials():
            if trial.params.keys() != self._distributions.keys():  # its driver was killed while it drew
                if trial.state is TrialState.RUNNING:
                    self._study.tell(trial.number, state=TrialState.FAIL)
                continue
            run = trial.user_attrs.get("run")
            if run is None:
                run, drawn = f"trial-{drawn:04d}", drawn + 1
            found.append(self._stretch(trial, run))
        return found

    def draw(self) -> None:
        """Begin the first stretch of a new run, whose values Optuna chooses (TPE; the first at random)."""
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + len(self._trials()))
        self._study.ask(self._distributions)

    def promote(self, run: str, rung: int) -> None:
        """Begin a run's stretch to a rung."""
        values = next(each.values for each in self.stretches() if each.run == run)
        kept = {path: self._space[path].kept(value) for path, value in values.items()}
        self._study.enqueue_trial(kept, user_attrs={"run": run, "rung": rung})
        self._study.ask(self._distributions)

    def tell(self, stretch: Stretch, value: float, *, last: bool) -> None:
        """End a stretch with the value of its metric; ``last``: the run is at its end."""
        if not last:
            self._storage.set_trial_intermediate_value(self._id(stretch), stretch.rung, value)
        state = TrialState.COMPLETE if last else TrialState.PRUNED
        self._study.tell(stretch.number, value if last else None, state)

    def tell_failed(self, stretch: Stretch, error: str, *, diverged: bool = False) -> None:
        """End a stretch without a value; of a diverged one Optuna learns that its values are the worst."""
        self._storage.set_trial_user_attr(self._id(stretch), "error", error)
        self._study.tell(stretch.number, state=TrialState.PRUNED if diverged else TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        if any(trial.state is TrialState.WAITING for trial in trials):  # killed between the two of `promote`
            self._study.ask(self._distributions)
            return self._trials()
        return trials

    def _id(self, stretch: Stretch) -> int:
        study = self._storage.get_study_id_from_name(_NAME)
        return self._storage.get_trial_id_from_study_id_trial_number(study, stretch.number)

    def _stretch(self, trial: FrozenTrial, run: str) -> Stretch:
        rung = trial.user_attrs.get("rung", 0)
        value = trial.value if trial.state is TrialState.COMPLETE else trial.intermediate_values.get(rung)
        return Stretch(
            number=trial.number,
            run=run,
            rung=rung,
            values={path: each.value(trial.params[path]) for path, each in self._space.items()},
            state=_state(trial.state, value),
            value=math.nan if value is None else value,
            error=trial.user_attrs.get("error", ""),
        )


class _Held:
    """Optuna's lock of the journal: the search's own is held already, and ends with its process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def cut_broken_line(path: Path) -> None:
    """Cut the last line where it has no end (a full disk, a kill): Optuna would read no further line."""
    if not path.exists() or (content := path.read_bytes()).endswith(b"\n") or not content:
        return
    with path.open("r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.scale is None:
        return CategoricalDistribution(dimension.kept_choices)
    if dimension.scale == "int":
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.scale == "log")


def _state(state: TrialState, value: float | None) -> Literal["open", "ended", "diverged", "failed"]:
    if state is TrialState.RUNNING:
        return "open"
    if state is TrialState.FAIL:
        return "failed"
    return "diverged" if value is None else "ended"
