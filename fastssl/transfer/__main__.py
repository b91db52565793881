"""Transfer an encoder: python -m fastssl.transfer TASK RUN_OR_CHECKPOINT --data WHERE [--out DIR] [...]

Weights of other libraries and codes: python -m fastssl.transfer TASK --weights FILE --data WHERE
Fresh weights: python -m fastssl.transfer TASK scratch --data WHERE [--backbone resnet50 | --like RECIPE]
"""

from __future__ import annotations

import os
import sys
import time

from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import dist_env
from fastssl.distributed.processes import process_group
from fastssl.run.failures import machine_failures
from fastssl.transfer.options import parse
from fastssl.transfer.searched_rate import transfer_at_best_rate
from fastssl.transfer.trainer import transfer
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path


def main(argv: list[str] | None = None) -> int:
    """The command."""
    env, more = dist_env(os.environ)
    try:
        config = parse(list(sys.argv[1:] if argv is None else argv))
    except UserError:
        if env.is_main:
            raise
        time.sleep(5)  # torchrun ends all as soon as one has ended: first rank 0 says so
        return 2
    options = config.options
    device = choose_device(options.device, env.local_rank).type
    with (
        process_group(env, more, minutes=options.wait_minutes, device=device),
        machine_failures(user_path(options.out or "runs"), config.task.batch_size, "lower --batch-size"),
    ):
        return transfer_at_best_rate(config, env) if options.searched_rates else transfer(config, env)


if __name__ == "__main__":
    run_command(main)
