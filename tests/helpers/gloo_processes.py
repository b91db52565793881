"""A test file's function in several real processes, forked from the server, that talk over gloo."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.helpers.commands import ForkedCommand


def in_processes(count: int, module: str, folder: Path) -> list[Any]:
    """What the module's ``work()`` returns in each of ``count`` processes, by rank.

    Args:
        count: number of processes.
        module: name of a module of the tests.
        folder: empty folder where the processes meet and leave what they found.
    """
    processes = [
        ForkedCommand("tests.helpers.gloo_processes", f"{rank}", f"{count}", module, folder)
        for rank in range(count)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * count, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def main(rank: int, count: int, module: str, folder: Path) -> None:
    """Do one process's work and leave what it returned."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=120),
    )
    torch.save(import_module(module).work(), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
