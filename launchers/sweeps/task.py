"""Tasks of a planned run: transfers of its encoder, each a job of its own after the run's training.

A run that is not trained has the same tasks from fresh weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastssl.evaluate.result_name import ResultName, file_part

Mode = Literal["", "scratch", "finetune", "linear"]
Option = str | int | float | bool | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """One training of ``python -m fastssl.transfer``."""

    task: str
    """Its name there."""
    labels: int = 0
    """Labeled images to train on; 0: all."""
    mode: Mode = ""
    """Weights that it starts from and trains; "": the task has no choice."""
    images: str = ""
    """Name of the labeled images; "": those of the run's training."""
    where: str = ""
    """Their location; "": that of ``--transfer-data``, without which the task is left out."""
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    """Further options of the task. They are no part of the result's name: one run has one value of each."""
    checkpoint: str = ""
    """Kept checkpoint of the encoder, ``epoch-0050``; "" is the run's last."""
    variant: str = ""
    """Tells the result of a task from another of the same run, ``norm_rescale=constant``."""
    anchor: str = ""
    """Run of the study whose weights' norms the encoder's take (NormRescale), once it is trained."""

    @property
    def result(self) -> str:
        """Name of its result, ``classification+labels=250+mode=finetune@single-1111``.

        It has no seed: that is the run's.
        """
        parts = [f"labels={self.labels}"] * bool(self.labels) + [f"mode={self.mode}"] * bool(self.mode)
        parts += [self.variant] * bool(self.variant)
        name = ResultName(
            protocol=file_part(self.task, "_"),
            options="+".join(parts),
            checkpoint=self.checkpoint,
            data=self.images,
        )
        return str(name)

    @property
    def words(self) -> list[str]:
        """Its command line, but for the run and the images: the task's name first."""
        named = {"labels": self.labels, "mode": self.mode} | dict(self.options)
        words = [self.task]
        for name, value in named.items():
            if value not in ("", 0):
                values = value if isinstance(value, tuple) else () if value is True else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return words


def task_to_plan(task: PlannedTask) -> dict[str, Any]:
    """A task as an object of sweep.json."""
    about = {"result": task.result, "words": task.words, "images": task.images, "where": task.where}
    return about | ({"anchor": task.anchor} if task.anchor else {})


def known_tasks(run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tasks of a run of sweep.json whose images are known, by the names of their results."""
    return {task["result"]: task for task in run.get("tasks", ()) if task["where"] or not task["images"]}
