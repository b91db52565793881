"""Images and targets that a transfer is trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.processes import one_after_the_other
from fastssl.transfer.options import TransferConfig, TransferOptions
from fastssl.transfer.task import Task
from pipelines.command.errors import UserError
from pipelines.keys import stable_id
from pipelines.plan.order import permute
from pipelines.sources import NoSplitError, Source, open_source
from pipelines.sources.subset import Subset, hold_out
from pipelines.targets import target_kinds_of

HELD_OUT_SHARE = 0.2
SEARCH_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferData:
    """Training and test images of the same classes."""

    train: Source
    """Images of an epoch."""
    test: Source
    """Images that the network is measured on."""
    class_names: tuple[str, ...]
    """Names of the classes that are predicted."""
    test_images_are: str
    """Origin of the test images."""
    named_by: list[str]
    """Fingerprints of the whole training split and of the test images, for names of results."""

    @property
    def fingerprints(self) -> list[str]:
        """Fingerprints of the training and the test images."""
        return [self.train.index.fingerprint, self.test.index.fingerprint]


def open_transfer_data(config: TransferConfig, env: DistEnv) -> TransferData:
    """Open the images of a transfer.

    Its training images are the train split of ``data``. Its test images are the test split of ``test_data``
    or, where that is not named, of ``data``; without one, a fifth of the images, held out. While a rate is
    searched they are a tenth of the training images.

    Raises:
        UserError: the images cannot be read, lack the task's labels, or have others in the test split; or
            this process finds others than process 0.
    """
    task, name, options = config.task, config.name, config.options
    where = options.data
    with one_after_the_other(env):
        train, test, test_images_are = _splits(options)
    if 0 < options.test_images < len(test.index):
        order = permute(stable_id("queries"), 0, len(test.index), np.arange(options.test_images))
        test = Subset(test, order)
    for source, named in ((train, where), (test, options.test_data or where)):
        _require_labels(task, name, source, named)
    if not len(train.index) or not len(test.index):
        raise UserError(f"{where} has too few images to hold some out: {len(train.index) + len(test.index)}")
    names = task.class_names(train)
    if names != task.class_names(test):
        raise UserError(
            f"{name}: the test images have other classes than the training images: give both the same"
        )
    named_by = [train.index.fingerprint, test.index.fingerprint]
    train = task.training_images(train, where)
    found = [train.index.fingerprint, test.index.fingerprint]
    if broadcast_object(found) != found:
        raise UserError(f"process {env.rank} finds other images in {where} than process 0")
    return TransferData(
        train=train, test=test, class_names=names, test_images_are=test_images_are, named_by=named_by
    )


def _splits(options: TransferOptions) -> tuple[Source, Source, str]:
    """Training and test images, and the origin of the latter."""
    train = open_source(options.data, "train")
    if options.held_out:
        train, test = hold_out(train, SEARCH_SHARE)
        return train, test, f"held-out {SEARCH_SHARE:.0%} of the training images"
    try:
        return train, open_source(options.test_data or options.data, "test"), "test split"
    except NoSplitError:
        if options.test_data:
            return train, open_source(options.test_data, "train"), "all of --test-data"
        train, test = hold_out(train, HELD_OUT_SHARE)
        return train, test, f"held-out {HELD_OUT_SHARE:.0%} of the images"


def _require_labels(task: Task, name: str, source: Source, where: str) -> None:
    """Refuse images without the labels of a task."""
    missing = sorted(task.needs - target_kinds_of(source))
    if missing:
        raise UserError(f"{name} needs {' and '.join(missing)}, and {where} has none: give other --data")
    if task.needs_labels and source.index.labels is None:
        raise UserError(f"{name} needs one class per image, and {where} has none: give other --data")
    if len(task.class_names(source)) < task.least_classes:
        raise UserError(
            f"{name} needs {task.least_classes} classes or more, and {where} has "
            f"{len(task.class_names(source))}: give other --data"
        )
