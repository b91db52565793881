"""The images that a run trains on, and how they are dealt out to steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastssl.classes.training_classes import with_classes
from fastssl.config import Config
from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.processes import one_after_the_other
from fastssl.optim.schedules import learning_rate
from fastssl.run.fit import fitted
from pipelines.backends.fetch_cost import fetch_note
from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan
from pipelines.sources import Source, open_source


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """Images, their order, and the length of a run on them."""

    config: Config
    """Config of the run, its sizes fitted to the images where it asks for that."""
    source: Source
    plan: Plan
    """Deals out micro-batches."""
    steps_per_epoch: int
    """Counted with the images of all classes, also where a run takes a share of them."""
    total_steps: int
    fetch_note: str | None
    """Bytes that an epoch fetches; None where the images are on this machine."""

    @property
    def num_classes(self) -> int | None:
        """Classes of the labels; None where the images have none."""
        index = self.source.index
        return None if index.labels is None else len(index.class_names)

    def learning_rate(self, step: int) -> float:
        """The rate of ``step``, from 0."""
        experiment = self.config.experiment
        return learning_rate(
            step, experiment.optimizer, experiment.batch_size, self.steps_per_epoch, self.total_steps
        )


def open_training_data(config: Config, env: DistEnv, source: Source | None = None) -> TrainingData:
    """Open the images of a run, or take ``source`` in place of those that the config names.

    Raises:
        UserError: they cannot be read, are fewer than a batch, are others than process 0 finds, or are
            elsewhere and too many for their cache.
    """
    where = config.machine.data
    if source is None:
        with one_after_the_other(env):
            source = open_source(where, "train")
    if broadcast_object(source.index.fingerprint) != source.index.fingerprint:
        raise UserError(f"process {env.rank} finds other images in {where} than process 0")
    everything, asked = len(source.index), config.experiment
    source = with_classes(source, asked.class_share, asked.taxonomy, asked.seed)
    count = len(source.index)
    experiment = fitted(asked, count)
    steps_per_epoch = everything // experiment.batch_size
    steps_per_pass = count // experiment.batch_size
    if steps_per_pass == 0:
        of_share = f" (class share {experiment.class_share})" if experiment.class_share < 1 else ""
        raise UserError(
            f"the batch of {experiment.batch_size} is larger than the data set {where} of {count} "
            f"images{of_share}: lower --batch-size to {count} or less"
        )
    plan = Plan(
        count=count,
        batch_size=experiment.batch_size // experiment.accumulation_steps,
        batches_per_epoch=steps_per_pass * experiment.accumulation_steps,
        seed=experiment.seed,
        order=experiment.order,
        block_size=experiment.block_size,
        blocks_per_window=experiment.blocks_per_window,
        rank=env.rank,
        world_size=env.world_size,
    )
    return TrainingData(
        config=replace(config, experiment=experiment),
        source=source,
        plan=plan,
        fetch_note=fetch_note(source, plan),
        steps_per_epoch=steps_per_epoch,
        total_steps=max(1, round(experiment.epochs * steps_per_epoch)),
    )
