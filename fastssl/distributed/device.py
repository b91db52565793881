"""Device of a process."""

from __future__ import annotations

from typing import Literal

import torch

from pipelines.command.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """A ``DeviceName`` to a device; of several GPUs that of the process's local rank.

    Args:
        name: auto takes a CUDA GPU if there is one, else the CPU. mps, Apple's GPU, is untested and is taken
            only where it is named.
        local_rank: of the process.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("--device mps: torch offers no Apple GPU here; use --device cpu")
        return torch.device("mps")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use --device cpu, or mend the driver")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
