"""Failures of the machine under a run, a full disk or memory, as one line for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from fastssl.distributed.dist_env import DistEnv
from fastssl.run.training_state import TrainingState
from pipelines.command.errors import UserError, disk_error, is_disk_error


@contextmanager
def machine_failures(out: Path, batch_size: int, remedy: str) -> Iterator[None]:
    """Turn errors of the disk under a run folder, and of memory, into a ``UserError``.

    ``remedy`` is that against too little memory: "lower --batch-size".
    """
    try:
        yield
    except OSError as error:
        reason = disk_error(error, out) if is_disk_error(error) else _in_the_way(error, out)
        if not reason:
            raise
        raise UserError(f"{reason}; checkpoints written before are intact") from None
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(f"out of memory in a batch of {batch_size} images: {remedy}") from None


def failure_recorder(state: TrainingState, env: DistEnv) -> Callable[[Any, BaseException | None, Any], None]:
    """An exit callback that writes an error into summary.json."""

    def record(kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and env.is_main:
            with suppress(OSError):  # a full disk is reported by the error itself
                state.summarize("failed", error=str(error))

    return record


def _in_the_way(error: OSError, out: Path) -> str:
    """Words on something in the run folder that is no file or folder of a run's; "" for any other error."""
    names = [name for name in (error.filename2, error.filename) if isinstance(name, str)]
    if not names or out.absolute() not in Path(names[0]).absolute().parents:
        return ""
    return f"{names[0]}: {error.strerror}: move it away, and give the same command again"


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """True for Python's, numpy's and torch's words on memory of a device or of the machine."""
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or "can't allocate memory" in str(error) or "not enough memory" in str(error)
