"""The parts of a run on their device, as the trainer takes them: method, training step and loader."""

from __future__ import annotations

import os
import shutil

import torch

from fastssl.config import Config, Experiment
from fastssl.distributed.precision import AUTOCAST
from fastssl.methods import Method, build_method
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim.graphed_step import GraphedStep, graph_blocker
from fastssl.optim.optimizer import build_optimizer
from fastssl.optim.train_step import TrainStep
from fastssl.run.data import TrainingData
from pipelines.backends.backend import LoaderConfig
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages


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
        sample_ids=data.source.index.sample_ids,
        probes=experiment.probes,
    )
    method = method.to(device).to(memory_format=torch.channels_last).train()
    for group in experiment.views:
        method.encoder.check_size(group.spec.size)
    group_batch_norms(method, experiment.batch_norm_group, data.plan.batch_size)
    return method


def build_train_step(config: Config, method: Method, device: torch.device) -> TrainStep:
    """Build the step that moves the weights of a method on its device; the config's precision is resolved.

    Raises:
        UserError: the optimizer is not implemented as the config asks, or not on this machine; or a step
            cannot be compiled or captured in a graph.
    """
    experiment, machine = config.experiment, config.machine
    autocast, accumulation_steps = AUTOCAST[experiment.precision], experiment.accumulation_steps
    optimizer = build_optimizer(method.param_groups(), experiment.optimizer, machine.optimizer_implementation)
    if machine.compile:
        compile_networks(method, device)
    if machine.cuda_graph:
        blocker = graph_blocker(method, optimizer, device, autocast, accumulation_steps)
        if blocker is not None:
            raise UserError(f"--cuda-graph cannot be: {blocker}: leave it out")
    return (GraphedStep if machine.cuda_graph else TrainStep)(
        method,
        optimizer,
        device=device,
        autocast=autocast,
        accumulation_steps=accumulation_steps,
        clip_grad_norm=experiment.optimizer.clip_grad_norm,
        seed=experiment.seed,
    )


def compile_networks(method: Method, device: torch.device) -> None:
    """Have the student and its moving averages compiled at their first call, in place: names stay.

    Losses and metrics, which draw on the host, stay eager. They agree with those of an eager run to the
    rounding of the operations that are fused; draws of dropout and drop path are others.

    Raises:
        UserError: the device is a CPU, and there is no compiler for it.
    """
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError("--compile on a CPU needs a C++ compiler: install g++, or leave it out")
    for network in (method.student, *(target for target, _, _ in method.averages(0))):
        network.compile(dynamic=False)


def training_batches(
    config: Config, data: TrainingData, device: torch.device, bad_images: BadImages, *, start: int, stop: int
) -> LoaderConfig:
    """Describe the loader of a run's batches from step ``start`` of the optimizer to ``stop``, excluded.

    The config's precision is resolved, its number of workers known.
    """
    experiment, machine = config.experiment, config.machine
    return LoaderConfig(
        source=data.source,
        groups=experiment.views,
        plan=data.plan,
        start_step=start * experiment.accumulation_steps,
        stop_step=stop * experiment.accumulation_steps,
        bad_images=bad_images,
        device=device,
        dtype=AUTOCAST[experiment.precision] or torch.float32,  # as the network takes views in
        pipeline=machine.pipeline,
        cpu_output=machine.cpu_output,
        workers=machine.workers,
        prefetch=machine.prefetch,
    )
