"""A search as its command defines it; whether a folder holds the same one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastssl.config import Config
from fastssl.config_values import differing_fields, read_config
from launchers.searching.folder import SearchFolder
from launchers.searching.halving import rungs
from launchers.searching.measure import Measure
from launchers.searching.space import Dimension, changes
from launchers.sweeps.fields import assign
from launchers.sweeps.json_file import read_object
from launchers.sweeps.prepare import check_free
from pipelines.command.errors import UserError

VERSION = 1  # of search.json; raise it when an entry changes its name or meaning
_REMEDY = "choose another --out"


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search."""

    recipe: str
    base: Config
    """Config that each trial changes, and trains to its end at most."""
    space: tuple[Dimension, ...]
    metric: str
    """Name of a metric of metrics.jsonl, or of ``measure``'s: ``classification.top1``."""
    measure: Measure | None = None
    """Job that measures the metric at each rung; None: the training logs it."""
    minimize: bool
    trials: int
    grace: int
    """Epochs before trials are compared first; 0: at their end alone."""
    reduction: int
    """One of so many trials goes on."""
    seed: int

    @property
    def name(self) -> str:
        """Name for people, and for the cluster's queue."""
        return f"{self.base.recipe}-search"

    @property
    def rungs(self) -> tuple[float, ...]:
        """Epochs at which trials are compared."""
        return rungs(self.grace, self.reduction, self.base.experiment.epochs)

    def config(self, values: Mapping[str, Any]) -> Config:
        """Config of a trial, with values by path; kNN is measured at every rung where it is the metric.

        Raises:
            UserError: the values do not fit together.
        """
        config = assign(self.base, changes(self.space, values))
        every = config.machine.monitor_every
        if self.logs_knn and self.grace and (not every or self.grace % every):
            config = dataclasses.replace(
                config, machine=dataclasses.replace(config.machine, monitor_every=float(self.grace))
            )
        return config

    @property
    def logs_knn(self) -> bool:
        """True if the metric is of the kNN that a training measures."""
        return self.measure is None and self.metric.startswith("knn")

    def better(self, value: float) -> float:
        """A value of the metric as one that is the better the larger it is."""
        return -value if self.minimize else value

    def as_json(self) -> dict[str, Any]:
        """The search as entries of search.json."""
        return {
            "version": VERSION,
            "recipe": self.recipe,
            "space": {each.path: each.text for each in self.space},
            "metric": self.metric,
            "measure": None if self.measure is None else list(self.measure.settings),
            "eval_data": None if self.measure is None else self.measure.images,
            "minimize": self.minimize,
            "grace": self.grace,
            "reduction": self.reduction,
            "seed": self.seed,
            "data": self.base.machine.data,
            "trials": self.trials,
            "rungs": list(self.rungs),
        }


def check_folder(folder: SearchFolder, search: Search) -> None:
    """A folder holds one search; the number of its trials alone may change.

    Raises:
        UserError: the folder holds another search, or something else, or a file in it is damaged.
    """
    if not folder.search.exists():
        check_free(folder.path, "search", ("lock", "base.json"))
        return
    old, new = read_object(folder.search, _REMEDY), search.as_json()
    if old.get("version") != VERSION:
        raise UserError(
            f"{folder.search} is of version {old.get('version')}, this code reads {VERSION}: {_REMEDY}"
        )
    told = [
        f"{name} ({_words(old.get(name))} became {_words(new[name])})"
        for name in new
        if name not in ("trials", "rungs") and old.get(name) != new[name]
    ]
    told += differing_fields(read_config(folder.base).experiment, search.base.experiment)
    if told:
        raise UserError(f"{folder.path} holds another search: {', '.join(told)}: {_REMEDY}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    return str(value)
