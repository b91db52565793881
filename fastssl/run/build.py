"""The network of a run on its device, as the trainer takes it."""

from __future__ import annotations

import torch

from fastssl.config import Experiment
from fastssl.methods import Method, build_method
from fastssl.models.batch_norm import group_batch_norms
from fastssl.run.data import TrainingData


def build_on_device(experiment: Experiment, data: TrainingData, device: torch.device) -> Method:
    """Build the method of a run: on its device, channels-last, in training mode, batch norms in their groups.

    Raises:
        UserError: it does not fit the data or the size of the views.
    """
    method = build_method(
        experiment.method,
        experiment.backbone,
        seed=experiment.seed,
        total_steps=data.total_steps,
        num_classes=data.num_classes,
    )
    method = method.to(device).to(memory_format=torch.channels_last).train()
    for group in experiment.views:
        method.encoder.check_size(group.spec.size)
    group_batch_norms(method, experiment.batch_norm_group, data.plan.batch_size)
    return method
