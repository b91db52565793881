"""The meeting of processes that train together: a store that all of them reach.

torch's own rendezvous waits in one call, which says nothing and hears no Ctrl-C until its time is over.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from torch._C._distributed_c10d import Store, TCPStore

from fastssl.distributed.dist_env import DistEnv
from pipelines.command.errors import UserError

_QUIET = 8.0  # seconds of waiting before it is told
_POLL = 0.05  # seconds
_ALL_HERE = "fastssl/all-here"
_NAMED = 4  # ranks in a message


def meet(env: DistEnv, *, minutes: float) -> Store:
    """The store at ``MASTER_ADDR:MASTER_PORT``, once every process has reached it. Obeys Ctrl-C meanwhile.

    A wait that lasts is told in one line. Rank 0 serves the store, or torchrun's agent does.

    Raises:
        UserError: the others did not come in so many minutes.
        RuntimeError, ValueError: the store cannot be opened.
    """
    address, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", ""))
    wait = _Wait(env, minutes)
    serves = env.is_main and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    while not serves and not _is_served(address, port):
        wait.go_on([0])
    store = TCPStore(
        address,
        port,
        env.world_size,
        is_master=serves,
        timeout=timedelta(minutes=minutes),
        wait_for_workers=False,
        multi_tenant=True,
    )
    store.set(_key(env.rank), "")
    missing = list(range(env.world_size))
    while env.is_main and (missing := [rank for rank in missing if not store.check([_key(rank)])]):
        wait.go_on(missing)
    if env.is_main:
        store.set(_ALL_HERE, "")
    while not store.check([_ALL_HERE]):  # rank 0 tells of those who are missing
        wait.go_on([])
    return store


def _key(rank: int) -> str:
    return f"fastssl/here/{rank}"


def _is_served(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except OSError:
        return False


class _Wait:
    """A wait with an end, told by one process per machine."""

    def __init__(self, env: DistEnv, minutes: float) -> None:
        self._env = env
        self._minutes = minutes
        self._begun = time.monotonic()
        local_speaker = 1 if env.rank == env.local_rank else 0  # on the first machine rank 0 may be missing
        self._told = not env.is_main and env.local_rank != local_speaker

    def go_on(self, missing: Sequence[int]) -> None:
        """Wait a moment longer for the processes of these ranks.

        Raises:
            UserError: the time is over.
        """
        waited = time.monotonic() - self._begun
        if waited > 60 * self._minutes:
            raise UserError(
                f"process {self._env.rank} of {self._env.world_size} cannot meet the others: it waited "
                f"{self._minutes:g} min for {self._words(missing)}"
            )
        if waited > _QUIET and missing and not self._told:
            self._told = True
            print(f"waiting for {self._words(missing)}; Ctrl-C gives up", file=sys.stderr, flush=True)
        time.sleep(_POLL)

    def _words(self, missing: Sequence[int]) -> str:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        told = " and ".join(f"{name}={os.environ.get(name, '')}" for name in self._env.told_by)
        alone = " ".join(f"-u {name}" for name in self._env.told_by)
        return (
            f"{_ranks(missing)} of {self._env.world_size} at {where}, as {told} say; to train alone: "
            f"env {alone} python -m fastssl.train ..."
        )


def _ranks(missing: Sequence[int]) -> str:
    """process 1; processes 1, 2; processes 1, 2, 3, 4 and 59 more."""
    if not missing:
        return "the others"
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"process{'es' * (len(missing) > 1)} {', '.join(map(str, missing[:_NAMED]))}{more}"
