"""Cost of a sweep: GPU-hours, from the images per second that runs of the same kind reached here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastssl.run.summary import summary_if_whole
from pipelines.command.errors import UserError

if TYPE_CHECKING:
    from fastssl.config import Config, Experiment

# training images of the data sets that recipes name
_IMAGES = {
    "imagenet": 1_281_167,
    "imagenet100": 126_689,
    "cifar10": 50_000,
    "stl10": 105_000,  # unlabeled and train
    "scenes": 10_000,
}


def images_of(config: Config) -> int | None:
    """Training images of a run's data set, if that is known by the name of its data or of its recipe."""
    data = config.machine.data
    for name in (data.partition(":")[0], Path(data).name, *config.recipe.split("-")):
        if name in _IMAGES:
            return _IMAGES[name]
    return None


def is_data_of(run: Mapping[str, Any]) -> bool:
    """True if a run trained on the data that its recipe names, by the count of images, or if that is unknown.

    Args:
        run: config.json of a run folder.
    """
    try:
        recipe, experiment = run["config"]["recipe"], run["config"]["experiment"]
        images, share = run["data"]["images"], experiment.get("class_share", 1)
        expected = next((_IMAGES[name] for name in recipe.split("-") if name in _IMAGES), None)
    except (KeyError, TypeError, AttributeError):
        return True
    if expected is None or share != 1 or not isinstance(images, int):
        return True
    return abs(images - expected) <= 0.1 * expected  # some copies lack damaged images


def kind(experiment: Experiment) -> str:
    """Key of all that decides a run's speed: runs of one kind cost alike."""
    method, backbone = experiment.method, experiment.backbone
    sizes = [(group.num_views, group.spec.size) for group in experiment.views]
    return f"{method.kind} {backbone} {sizes} {experiment.batch_size} {experiment.precision}"


def measured(folders: Iterable[Path]) -> dict[str, float]:
    """Images per second of each kind of run, from run folders; the last one read counts."""
    from fastssl.config_values import read_config  # loads torch, which a report does without

    found = {}
    for folder in folders:
        rate = summary_if_whole(folder).get("images_per_s")
        try:
            if rate:
                found[kind(read_config(folder / "config.json", execute=False).experiment)] = float(rate)
        except UserError:
            continue  # of an older version, or with another user file than this command's
    return found


def run_hours(config: Config, rates: Mapping[str, float]) -> float | None:
    """Hours of a run; None where its speed or the size of its data is unknown."""
    rate, images = rates.get(kind(config.experiment)), images_of(config)
    if not rate or images is None:
        return None
    return config.experiment.epochs * images / rate / 3600
