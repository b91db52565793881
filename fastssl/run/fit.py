"""A run's sizes against those of its data: what is lowered to fit, and what deserves a warning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fastssl.config import Config, Experiment
from fastssl.config_values import differing_fields
from fastssl.methods.method import power_of_two_up_to

_LEAST_STEPS = 8  # per epoch


def fitted(experiment: Experiment, images: int) -> Experiment:
    """The experiment with batch and negatives lowered to suit a number of images, if it asks for that.

    The batch is at most the power of two of which an epoch has eight; the method lowers what must not exceed
    images or batch (``Method.Config.fitted``). Fitting twice changes nothing.
    """
    if not experiment.fit_to_data:
        return experiment
    batch_size = min(experiment.batch_size, max(2, power_of_two_up_to(images // _LEAST_STEPS)))
    method = experiment.method.fitted(images=images, batch_size=batch_size)
    return dataclasses.replace(experiment, batch_size=batch_size, method=method)


def fit_line(before: Experiment, after: Experiment, images: int) -> Iterator[str]:
    """The line that says what was fitted, if anything was."""
    fields = differing_fields(before, after)
    if fields:
        yield f"fitted to {images} images: {', '.join(fields)}"


def size_warnings(config: Config, images: int, total_steps: int) -> Iterator[str]:
    """Sizes that do not suit one another, a line each."""
    experiment, machine = config.experiment, config.machine
    yield from experiment.method.warnings(images)
    wanted = experiment.method.color_space
    if wanted and any(group.spec.color_space != wanted for group in experiment.views):
        yield (
            f"{experiment.method.kind} is made for views in {wanted}, whose channels it tells apart: set "
            f"--views.0.spec.color-space {wanted}, with its mean and std"
        )
    yield from experiment.backbone.warnings(max(group.spec.size for group in experiment.views))
    if total_steps < machine.log_every:
        yield (
            f"the run's {total_steps} steps are fewer than one logging interval of {machine.log_every}: "
            "set --log-every 1"
        )
