"""Initial weights of a run from another one: ``--init RUN`` or ``--init CHECKPOINT``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastssl.methods import Method
from fastssl.run import checkpoint
from fastssl.run.folder import LAST
from pipelines.command.errors import UserError


@torch.no_grad()
def take_weights(method: Method, where: Path) -> str:
    """Load the weights of a checkpoint: the whole method's where they fit, else its encoder's.

    Moving averages (a teacher) start from the weights taken. Optimizer, schedule and step are left alone.

    Args:
        method: freshly built, on its device; changed in place.
        where: run folder (its last checkpoint), or a checkpoint.

    Returns:
        a line that says what was taken.

    Raises:
        UserError: there is no such checkpoint, or not even its encoder fits.
    """
    path = where / LAST if where.is_dir() else where
    state = checkpoint.load(path)
    own, whole, encoder = method.state_dict(), state.get("method"), state.get("encoder")
    at = f"{path}, step {state.get('step')}"
    if isinstance(whole, dict) and not _misfits(own, whole):
        method.load_state_dict(whole)
        return f"init: all {len(own)} tensors of the method, of {at}"
    if not isinstance(encoder, dict):
        raise UserError(f"--init {path} holds no encoder: give a run folder or one of its checkpoints")
    misfits = _misfits(method.encoder.state_dict(), encoder)
    if misfits:
        raise UserError(
            f"--init {path} holds another encoder ({len(misfits)} tensors differ, first {misfits[0]}): "
            "choose the same --backbone, or leave out --init"
        )
    method.encoder.load_state_dict(encoder)
    for target, source, _ in method.averages(0):
        _copy(target, source)
    return f"init: {len(encoder)} tensors of the encoder, of {at}; the heads start anew"


def _misfits(own: Mapping[str, Tensor], other: Mapping[str, Any]) -> list[str]:
    """Names that only one has, or whose tensors differ in shape."""
    ours = {name: tensor.shape for name, tensor in own.items()}
    theirs = {name: getattr(value, "shape", None) for name, value in other.items()}
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def _copy(target: nn.Module, source: nn.Module) -> None:
    weights = source.state_dict()
    target.load_state_dict({name: weights[name] for name in target.state_dict()})
