"""Evaluations and tasks of a study on other images than the training's, and where these are on this machine.

A study says protocol and name of the images, ``linear@cifar100``; ``--transfer-data cifar100=DIR`` says where
they are. What is measured on images that nobody named is left out; the scenes are where they are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from fastssl.evaluate.result_name import ResultName
from launchers.sweeps.study import PlannedRun, Study
from pipelines.command.errors import UserError

_OPTION = "--transfer-data"


def with_transfer_data(study: Study, settings: Sequence[str], absolute: Callable[[str], str]) -> Study:
    """The study with the locations of its images.

    Args:
        study: names the images in the ``transfer`` of its runs.
        settings: NAME=WHERE each.
        absolute: a location as a job sees it.

    Raises:
        UserError: a setting is no NAME=WHERE, or the study measures nothing on images of that name.
    """
    wanted = dict.fromkeys(name for run in study.runs for name in _images(run))
    places: dict[str, str] = {}
    for setting in settings:
        name, equals, where = setting.partition("=")
        if not equals or not where:
            raise UserError(f"{_OPTION} {setting}: give NAME=WHERE, such as cifar100=DIR")
        if name not in wanted:
            known = f"these are {', '.join(wanted)}" if wanted else "it has no transfer"
            raise UserError(f"{_OPTION} {name}: {study.name} measures nothing on such images ({known})")
        places[name] = absolute(where)
    return dataclasses.replace(study, runs=tuple(_located(run, places) for run in study.runs))


def _located(run: PlannedRun, places: Mapping[str, str]) -> PlannedRun:
    return dataclasses.replace(
        run,
        transfer_data={name: places[name] for name in _transfer_images(run) if name in places},
        tasks=tuple(
            dataclasses.replace(task, where=places.get(task.images, task.where)) for task in run.tasks
        ),
    )


def left_out(study: Study) -> Iterator[str]:
    """A line per evaluation whose images were not named."""
    missing = dict.fromkeys(
        result
        for run in study.runs
        for result in (*run.transfer, *(task.result for task in run.tasks))
        if result not in run.results
    )
    for result in missing:
        name = ResultName.parse(result).data
        yield f"{result} is left out: name the images by {_OPTION} {name}=WHERE to measure it"


def _images(run: PlannedRun) -> list[str]:
    return [*_transfer_images(run), *(task.images for task in run.tasks if task.images)]


def _transfer_images(run: PlannedRun) -> list[str]:
    return [ResultName.parse(result).data for result in run.transfer]
