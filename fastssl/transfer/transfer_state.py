"""State of a transfer: its folder is claimed and locked; its weights are fresh, or as they were saved."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastssl.config_values import differences
from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.run import checkpoint
from fastssl.run.folder import (
    LAST,
    circumstances,
    clear,
    hold,
    holds_nothing,
    refuse_other_files,
    remove_strays,
)
from fastssl.run.summary import read_summary
from fastssl.run.training_state import TrainingState
from fastssl.transfer.network import TransferNetwork
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json

_ENTRIES = {"transfer", "step", "network", "optimizer", "scaler", "means", "clock"}
_REMEDY = "put the transfer's own in its place, or start anew in another folder"


@dataclass(kw_only=True)
class TransferState(TrainingState):
    """The moving parts of a transfer. They are the same in every process."""

    method: TransferNetwork
    out: Path
    """Run folder."""
    facts: dict[str, Any]
    """All that decides the result, as plain values."""

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            UserError: the file cannot be written; the one before stands.
        """
        state = {"transfer": self.facts, "network": self.method.state_dict(), **self.saved()}
        checkpoint.save(self.out / LAST, state)

    def summarize(self, status: str, **more: Any) -> None:
        """Write summary.json."""
        values = {"status": status, "task": self.facts["task"], **self.summary(), **more}
        write_json(self.out / "summary.json", values)


def open_transfer(stack: ExitStack, state: TransferState, env: DistEnv, device: torch.device) -> None:
    """Claim the folder of a transfer, and resume from its checkpoint. All processes call.

    Args:
        stack: holds the folder's lock.
        state: fresh; changed in place.
        env: this process; process 0 alone touches the folder.
        device: device of the network.

    Raises:
        UserError: the folder cannot be used, holds another run, or is in use.
    """
    found = None
    if env.is_main:
        found = _claimed(stack, state)
    saved, finished = broadcast_object(found)
    state.finished = finished
    if saved is None:
        return
    with checkpoint.fitting(state.out / LAST, "the transfer", _REMEDY):
        state.method.load_state_dict(saved["network"])
        state.restore(saved, device)


def _claimed(stack: ExitStack, state: TransferState) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The saved state of this very transfer, and summary.json where it is finished; None each without."""
    out = state.out
    hold(stack, out)
    path = out / "config.json"
    remove_strays(out)
    if not path.exists():
        refuse_other_files(out)
    elif problem := _misfit(path, state.facts):
        if not holds_nothing(out):
            raise UserError(problem)
        clear(out)
    if not path.exists():
        write_json(path, {"transfer": state.facts, **circumstances()})
    summary = read_summary(out)
    if summary.get("status") == "finished":
        return None, summary
    return (_checkpoint_of(state, out / LAST) if (out / LAST).exists() else None), None


def _misfit(path: Path, facts: dict[str, Any]) -> str | None:
    """Explain why a folder is not that of a transfer; None where it is."""
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the config {path}: {error}") from None
    if not isinstance(before, dict) or not isinstance(before.get("transfer"), dict):
        raise UserError(f"{path.parent} is not the folder of a transfer: choose another --out")
    fields = differences("", before["transfer"], json.loads(json.dumps(facts)))
    if not fields:
        return None
    return (
        f"{path.parent} holds a transfer with another config: {', '.join(fields)}. "
        f"Choose another --out, or give the same options"
    )


def _checkpoint_of(state: TransferState, path: Path) -> dict[str, Any]:
    """The checkpoint of this very transfer.

    Raises:
        UserError: it is damaged, of another transfer, or of no step of this one.
    """
    saved = checkpoint.load(path)
    if not saved.keys() >= _ENTRIES:
        raise UserError(f"{path} is not a checkpoint of a transfer: {_REMEDY}")
    fields = differences("", saved["transfer"], state.facts)
    if fields:
        raise UserError(f"{path} is the checkpoint of another transfer: {', '.join(fields)}: {_REMEDY}")
    if not isinstance(saved["step"], int) or not 0 <= saved["step"] <= state.total_steps:
        raise UserError(f"{path} is of step {saved['step']}, and there are {state.total_steps}: {_REMEDY}")
    return saved
