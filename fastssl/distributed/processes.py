"""Several processes that train together: from their meeting to their end.

``torchrun --nproc-per-node N -m fastssl.train ...`` on one machine, ``srun python -m fastssl.train ...`` with
one task per GPU on a cluster. Whatever goes wrong in one process ends them all, with one message.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from fractions import Fraction
from typing import Any, NoReturn

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore

from fastssl.distributed.collectives import all_gather_objects, any_rank
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.meeting import meet
from pipelines.command.errors import UserError

_FAILURES = "fastssl/failures"  # counts the processes that failed
_WATCH_SECONDS = 0.5
_LOST = 1  # exit status of a process that another one left alone


@contextmanager
def process_group(env: DistEnv, more: dict[str, str], *, minutes: float, device: str) -> Iterator[None]:
    """The process group of all, inside; on "cuda" over NCCL too.

    ``env`` and ``more`` are those of ``dist_env``; a process waits so many ``minutes`` for the others.

    Raises:
        UserError: the others cannot be met. What goes wrong inside ends the process here and now, with one
            message of whoever fails first; status 2 for a mistake, 1 for a bug and for the others.
    """
    if env.world_size == 1:
        yield
        return
    os.environ.update(more)
    try:
        store = meet(env, minutes=minutes)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            store=PrefixStore("fastssl", store),
            rank=env.rank,
            world_size=env.world_size,
            timeout=timedelta(minutes=minutes),
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"process {env.rank} of {env.world_size} cannot meet the others at {where}: {_line(error)}"
        ) from None
    over = threading.Event()
    threading.Thread(target=_watch, args=(store, over, 5 if env.is_main else 1), daemon=True).start()
    try:
        yield
    except Exception as error:
        _leave(error, env, store)
    finally:
        over.set()
    dist.destroy_process_group()


def _leave(error: Exception, env: DistEnv, store: Any) -> NoReturn:
    """End this process; say why, unless another one has said it. A bug's traceback always helps."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, once another one has ended: first the words
    first, lost = _is_first(env, store), _is_of_others(error)
    if lost:
        words = (
            f"error: process {env.rank} of {env.world_size} lost another one, which ended or kept silent "
            f"({_line(error)}): start the same command again, it resumes from the last checkpoint"
        )
    elif isinstance(error, UserError):
        words = f"error: {error}"
    else:
        first, words = True, "".join(traceback.format_exception(error)).rstrip()
    if first:
        print(words, file=sys.stderr, flush=True)
    if env.is_main:
        time.sleep(4 * _WATCH_SECONDS)  # it keeps the store: until the others have seen it
    os._exit(
        2 if isinstance(error, UserError) else _LOST if lost else 1
    )  # what is left of the group could hang


def _is_first(env: DistEnv, store: Any) -> bool:
    """True for the first process that fails; tells the others."""
    try:
        return bool(store.add(_FAILURES, 1) == 1)
    except RuntimeError:  # rank 0 kept the store and was killed: one process on each machine speaks
        return env.local_rank == (1 if env.rank == env.local_rank else 0)


def _watch(store: Any, over: threading.Event, grace: float) -> None:
    """End this process when another one has failed: it may wait for ever in a collective."""
    while not over.wait(_WATCH_SECONDS):
        try:
            failed = store.check([_FAILURES])
        except RuntimeError:
            return  # rank 0 is gone, as its connections tell
        if failed and not over.wait(grace):  # time to end by itself
            os._exit(_LOST)


def _is_of_others(error: Exception) -> bool:
    """True if a collective failed because of another process."""
    if isinstance(error, dist.DistError):
        return True
    return (
        isinstance(error, RuntimeError) and re.search(r"gloo|NCCL|onnection|imed out", str(error)) is not None
    )


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def one_after_the_other(env: DistEnv) -> Iterator[None]:
    """The first process of each machine goes through before its others, which find its caches made."""
    if env.local_world_size > 1 and env.local_rank > 0:
        any_rank(False)
    yield
    if env.local_world_size > 1 and env.local_rank == 0:
        any_rank(False)


def own_cores() -> int:
    """Cores for this process: one is shared by all processes of its machine that may run on it.

    Under torchrun all may run on all cores; SLURM often deals them out.
    """
    mine = (socket.gethostname(), os.sched_getaffinity(0))
    users = Counter(core for host, cores in all_gather_objects([mine]) if host == mine[0] for core in cores)
    return max(1, int(sum(Fraction(1, users[core]) for core in mine[1])))
