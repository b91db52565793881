"""A process's place among those that train together, by torchrun's or SLURM's environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TORCHRUN = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")


@dataclass(frozen=True, kw_only=True)
class DistEnv:
    """Rank of a process; ``local``: among the processes on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    told_by: tuple[str, ...] = field(default=(), compare=False)
    """Environment variables that say so."""

    @property
    def is_main(self) -> bool:
        """True for the process that writes the run folder and prints: rank 0."""
        return self.rank == 0


def dist_env(environment: Mapping[str, str]) -> tuple[DistEnv, dict[str, str]]:
    """Read ranks from the environment, and the variables that torch's rendezvous needs in addition.

    torchrun's variables come first. SLURM's count inside a step of several tasks only: a batch script and an
    interactive shell have some of them too, and are one process.
    """
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= environment.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, size, local_rank, local_size = (int(environment.get(name, 0)) for name in names)
        env = DistEnv(
            rank=rank,
            world_size=size,
            local_rank=local_rank,
            local_world_size=max(1, local_size),
            told_by=tuple(name for name in _TORCHRUN if name in environment),
        )
        return env, {}
    size = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if size == 1:
        return DistEnv(), {}
    tasks_a_node = int(re.match(r"\d+", environment["SLURM_STEP_TASKS_PER_NODE"])[0])  # type: ignore[index]
    env = DistEnv(
        rank=int(environment["SLURM_PROCID"]),
        world_size=size,
        local_rank=int(environment["SLURM_LOCALID"]),
        local_world_size=tasks_a_node,
        told_by=_SLURM,
    )
    step = int(environment["SLURM_JOB_ID"]) * 16 + int(environment["SLURM_STEP_ID"])
    return env, {
        "RANK": str(env.rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or first_host(environment["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(20000 + step % 20000),
    }


def first_host(nodes: str) -> str:
    """The first of SLURM's compact list: ``gpu[03-05,9],login1`` starts with gpu03."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0] if first else nodes)
