"""Encoders rescaled ahead of a transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl.transfer.rescaled_encoder import rescaled_encoder
from pipelines.command.errors import UserError
from tests.helpers.dense_batches import encoder


def test_norms_are_the_anchors_and_directions_the_encoders(tmp_path: Path) -> None:
    given: Any = encoder(0)
    anchor: Any = encoder(1)
    path = tmp_path / "anchor.pt"
    torch.save({name: 3 * value for name, value in anchor.state_dict().items()}, path)
    found: Any = rescaled_encoder(given, str(path))
    ours, theirs, old = found.conv1.weight, anchor.conv1.weight, given.conv1.weight
    assert ours.norm().item() == pytest.approx(3 * theirs.norm().item(), rel=1e-5)
    torch.testing.assert_close(ours / ours.norm(), old / old.norm())
    assert torch.equal(found.bn1.running_mean, given.bn1.running_mean)
    every: Any = rescaled_encoder(given, "constant=0.1", "all")
    torch.testing.assert_close(every.bn1.running_var, 0.1 * given.bn1.running_var)


def test_anchors_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="constant is a positive number"):
        rescaled_encoder(encoder(), "constant=0")
    with pytest.raises(UserError, match="no-such"):
        rescaled_encoder(encoder(), str(tmp_path / "no-such.pt"))
