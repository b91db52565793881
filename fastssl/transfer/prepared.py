"""A transfer before its run folder is claimed: encoder, data, network, and the state of its first step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import AUTOCAST
from fastssl.evaluate.result_name import ResultName, changed_options, data_name, file_part
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim.optimizer import build_optimizer
from fastssl.optim.train_step import TrainStep
from fastssl.run.clock import Clock
from fastssl.run.folder import open_bad_images
from fastssl.transfer.data import TransferData, open_transfer_data
from fastssl.transfer.network import TransferNetwork
from fastssl.transfer.options import TransferConfig
from fastssl.transfer.starting_point import StartingPoint, open_starting_point
from fastssl.transfer.task import Length
from fastssl.transfer.transfer_state import TransferState
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.dense.loader import DenseLoaderConfig
from pipelines.plan.plan import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedTransfer:
    """Everything that a transfer is a function of."""

    config: TransferConfig
    env: DistEnv
    device: torch.device
    start: StartingPoint
    data: TransferData
    length: Length
    plan: Plan
    """The order of the training images."""
    train_view: Any
    """See ``Task.train_view``."""
    test_view: Any
    network: TransferNetwork
    """On its device, channels-last, in training mode, batch norms in their groups."""

    @property
    def result_name(self) -> ResultName:
        """Name of the result."""
        task, options = self.config.task, self.config.options
        parts = [changed_options(task)]
        if self.config.fresh and not task.from_scratch:
            parts.append("from_scratch=True")
        if options.held_out:
            parts.append("held_out=True")
        return ResultName(
            protocol=file_part(self.config.name, "_"),
            options="+".join(filter(None, parts)),
            checkpoint=file_part(self.start.checkpoint),
            data=data_name(options.data, self.data.named_by),
        )


def prepare(config: TransferConfig, env: DistEnv, device: torch.device) -> PreparedTransfer:
    """Open encoder and data, and build the network. All processes call.

    Raises:
        UserError: encoder, data and task do not fit together, or one cannot be opened.
    """
    task = config.task
    start = open_starting_point(config.options, fresh=config.fresh, seed=task.seed)
    data = open_transfer_data(config, env)
    return PreparedTransfer(
        config=config,
        env=env,
        device=device,
        start=start,
        data=data,
        length=task.length(len(data.train.index)),
        plan=_plan(config, data, env),
        train_view=task.train_view(start.view),
        test_view=task.test_view(start.view),
        network=_build_network(config, start, data, device),
    )


def fresh_state(prepared: PreparedTransfer) -> TransferState:
    """The state before the first step. All processes call."""
    config, data, network = prepared.config, prepared.data, prepared.network
    task, options, length = config.task, config.options, prepared.length
    out = broadcast_object(_folder(prepared))
    step = TrainStep(
        network,
        build_optimizer(task.parameter_parts(network), task.optimizer_config()),
        device=prepared.device,
        autocast=AUTOCAST[options.precision],
        clip_grad_norm=task.clip_grad_norm,
        seed=task.seed,
    )
    images = len(data.train.index) + len(data.test.index)
    return TransferState(
        clock=Clock(prepared.device),
        method=network,
        train_step=step,
        bad_images=open_bad_images(out, images, options.max_bad_images, prepared.env),
        batch_size=task.batch_size,
        steps_per_epoch=length.steps_per_epoch,
        total_steps=length.steps,
        out=out,
        facts={
            "task": config.name,
            "options": asdict(task),
            "encoder": prepared.start.about,
            "data": {
                "train_images": len(data.train.index),
                "test_images": len(data.test.index),
                "fingerprints": data.fingerprints,
            },
            "steps": length.steps,
            "precision": options.precision,
        },
    )


def training_batches(prepared: PreparedTransfer, run: TransferState) -> DenseLoaderConfig:
    """Loading of the training batches that are left."""
    task, options = prepared.config.task, prepared.config.options
    return DenseLoaderConfig(
        source=prepared.data.train,
        view=prepared.train_view,
        plan=prepared.plan,
        start_step=run.step,
        stop_step=run.total_steps,
        bad_images=run.bad_images,
        with_targets=bool(task.needs),
        device=prepared.device,
        workers=options.workers,
        prefetch=options.prefetch,
    )


def _folder(prepared: PreparedTransfer) -> Path:
    """Run folder of a transfer."""
    config, start = prepared.config, prepared.start
    if config.options.out:
        return user_path(config.options.out)
    return (Path("runs") if start.run is None else start.run / "transfer") / str(prepared.result_name)


def _plan(config: TransferConfig, data: TransferData, env: DistEnv) -> Plan:
    """The order of the training images.

    Raises:
        UserError: they are fewer than a batch.
    """
    count, batch_size = len(data.train.index), config.task.batch_size
    if count < batch_size:
        raise UserError(
            f"the batch of {batch_size} is larger than the {count} training images of {config.options.data}: "
            f"lower --batch-size to {count} or less"
        )
    return Plan(
        count=count,
        batch_size=batch_size,
        batches_per_epoch=count // batch_size,
        seed=config.task.seed,
        rank=env.rank,
        world_size=env.world_size,
    )


def _build_network(
    config: TransferConfig, start: StartingPoint, data: TransferData, device: torch.device
) -> TransferNetwork:
    """The network before its first step."""
    task = config.task
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(task.seed)
        network = task.network(start.encoder, data.class_names)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    group_batch_norms(network, task.batch_norm_group or None, task.batch_size)
    return network
