"""Learning rate of a transfer, chosen among several by trainings that are measured on held-out images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.run.summary import read_summary
from fastssl.transfer.options import TransferConfig
from fastssl.transfer.trainer import transfer
from pipelines.command.errors import UserError
from pipelines.command.options import user_path


def transfer_at_best_rate(config: TransferConfig, env: DistEnv = DistEnv()) -> int:  # noqa: B008  (frozen)
    """Train at each of ``searched_rates`` without a tenth of the images, then at the best on all of them.

    Each training has a folder of its own, ``OUT-rate-RATE``, and is resumed as any other. A rate at which it
    diverges is none of the best.

    Returns:
        exit status, as ``transfer``.

    Raises:
        UserError: the training diverges at all rates, or see ``transfer``.
    """
    reached: dict[float, float] = {}
    for rate in config.options.searched_rates:
        trial = _at_rate(config, rate, held_out=True)
        try:
            status = transfer(trial, env)
        except UserError as error:
            if "has diverged" not in str(error):
                raise
            continue
        if status:
            return status
        metrics = read_summary(Path(trial.options.out)).get("metrics", {}) if env.is_main else {}
        reached[rate] = broadcast_object(metrics.get(config.task.leading))
    if not reached:
        raise UserError("the training diverges at each of --searched-rates: give lower ones")
    sign = -1 if config.task.lower_is_better else 1
    best = max(reached, key=lambda rate: sign * reached[rate])
    if env.is_main:
        found = ", ".join(f"{rate:g}: {value:.4f}" for rate, value in reached.items())
        print(f"{config.task.leading} on held-out images by learning rate: {found}; taking {best:g}")
    return transfer(_at_rate(config, best, held_out=False), env)


def _at_rate(config: TransferConfig, rate: float, *, held_out: bool) -> TransferConfig:
    out = config.options.out
    folder = f"{user_path(out)}-rate-{rate:g}" if held_out else out
    options = dataclasses.replace(config.options, out=folder, held_out=held_out, searched_rates=())
    return dataclasses.replace(
        config, options=options, task=dataclasses.replace(config.task, learning_rate=rate)
    )
